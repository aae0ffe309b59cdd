"""Three networks on digits whose stability is known, diagnosed with other seeds each time: who tells them apart?

    python tests/procedures/stability_of_networks.py early 10 mend=true

A line a diagnosis, with what was found; at the end how many were right. Minutes: `make test` has simulated networks.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import playbook.optim
from playbook.procedures.diagnose_stability import DiagnoseStabilityOptions, diagnose_stability

SHORT = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=300", "eval_every=30")


@dataclass(frozen=True)
class Surge:
    """A schedule that is made to blow up: eight times the rate from the middle of the run on."""

    def factor(self, step: int, max_steps: int) -> float:
        return 8.0 if step >= max_steps // 2 else 1.0


Surge.__module__ = "playbook.optim"  # where a config may name it
playbook.optim.Surge = Surge

RESIDUAL = ("model.residual=true",)
NETWORKS = {
    # Normalised inside the branch, and Adam: the best lr is far from where its first steps overshoot.
    "stable": (*RESIDUAL, "model.width=32", "model.norm=layer", "model.depth=3", "optimizer=adam"),
    # Twelve residual layers without a norm begin at a loss of 50, and the first step at 2 lr* overshoots.
    "unstable early": (*RESIDUAL, "model.width=64", "model.depth=12"),
    # Two plain layers that train well until the rate jumps.
    "unstable mid-run": ("model.width=32", "schedule._target_=playbook.optim.Surge"),
}
RANGES = {"stable": (4e-4, 0.1), "unstable early": (3e-4, 0.04), "unstable mid-run": (1e-3, 0.25)}
"""Of nine learning rates, which are then a factor of 2 apart, or less."""


def diagnosed(kind, seed, folder, **options):
    """The answer and its seconds; the seeds are those from `seed` on."""
    low, high = RANGES[kind]
    begun = time.perf_counter()
    given = DiagnoseStabilityOptions(lr_low=low, lr_high=high, rates=9, **options)
    words = (*SHORT, *NETWORKS[kind], f"seed={seed}", f"output_root={folder}")
    return diagnose_stability(*words, options=given, quiet=True), time.perf_counter() - begun


if __name__ == "__main__":
    kind = {"early": "unstable early", "mid-run": "unstable mid-run"}.get(sys.argv[1], sys.argv[1])
    first, _, last = sys.argv[2].rpartition(":")
    right = 0
    numbers = range(int(first or 0), int(last))
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            said, seconds = diagnosed(kind, 10 * number, Path(folder), mend="mend=true" in sys.argv, max_repeats=5)
        found = said.evidence
        mended = found["mended"] or {}
        right += said.verdict == kind
        print(
            f"{number} {said.verdict}: lr* {found['lr_star']} {found.get('lr_star_interval')}, unstable from"
            f" {found['unstable_base_learning_rate']} {found.get('unstable_interval')};"
            f" {mended.get('overrides')} {mended.get('verdict')}, {seconds:.0f} s",
            flush=True,
        )
        if mended.get("comparison"):
            said_by = mended["comparison"]
            print(
                f"   warmups {mended['warmups']}, effect {said_by['effect']:.4f} {said_by['interval']},"
                f" {said_by['candidate']['mean']:.4f} against {said_by['incumbent']['mean']:.4f}",
                flush=True,
            )
        if said.verdict != kind:
            print("   ", said.answer, flush=True)
    print(f"{kind}: {right} of {len(numbers)}")
