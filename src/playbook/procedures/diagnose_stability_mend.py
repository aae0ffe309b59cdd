"""What mends an instability: the shortest warmup that holds (E6), else clipping (E7); tuned again, and compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.instability import Thresholds, holds
from playbook.analysis.instability_of_rates import BestRate, Rate, best_rate
from playbook.analysis.rules.clipping import threshold
from playbook.procedures.compare import compare
from playbook.procedures.comparison import Comparison
from playbook.procedures.diagnose_stability_runs import Bench, TrainedRun, rounded
from playbook.study.overrides import override_key

TIMES = 10.0
"""Of the unstable learning rate, at which warmup must hold (E6)."""
FEWEST_STEPS = 50
"""Of a run that holds: in fewer steps nothing is learnt."""
RATES = 5
"""Learning rates at which the mended configuration is tried."""


@dataclass(frozen=True)
class Warmup:
    """Runs with so many steps of warmup and twice as many after it; `holding` of them hold."""

    steps: int
    runs: tuple[TrainedRun, ...]
    holding: int

    @property
    def holds(self) -> bool:
        """Whether all of them do: the run to come has one seed."""
        return self.holding == len(self.runs)


@dataclass(frozen=True)
class Mended:
    """`fix` are the overrides of what mends it, `lr` the best learning rate with them, `comparison` what fresh seeds
    say of that against the baseline: None where no learning rate trained at all."""

    base_lr: float
    warmups: tuple[Warmup, ...]
    clip_norm: float | None
    fix: Mapping[str, int | float]
    rates: tuple[Rate, ...]
    lr: float | None
    comparison: Comparison | None

    @property
    def warmup_steps(self) -> int | None:
        """The shortest warmup that holds."""
        return min((each.steps for each in self.warmups if each.holds), default=None)

    @property
    def adopted(self) -> bool:
        """Whether the mended configuration is better, beyond luck."""
        return self.comparison is not None and self.comparison.verdict == "adopt"

    @property
    def overrides(self) -> tuple[str, ...]:
        """Of the mended configuration."""
        fix = tuple(f"{key}={value:g}" for key, value in self.fix.items())
        return (*fix, *(() if self.lr is None else (f"lr={self.lr:g}",)))

    @property
    def numbers(self) -> list[tuple[str, str]]:
        """What the page shows in large."""
        found = [(f"{self.base_lr:g}", "learning rate at which warmup was tried")] if self.warmups else []
        if self.warmups:
            steps = self.warmup_steps
            found.append(("none" if steps is None else f"{steps:,}", "steps: shortest warmup that holds there"))
        if self.clip_norm is not None:
            found.append((f"{self.clip_norm:g}", "90th percentile of the gradient's norm"))
        if self.lr is not None:
            found.append((f"{self.lr:g}", "best learning rate, mended"))
        return found

    def plain(self) -> dict[str, Any]:
        """What `result.json` holds."""
        said = self.comparison
        return {
            "base_lr": self.base_lr,
            "warmups": [{"steps": w.steps, "holding": w.holding, "of": len(w.runs)} for w in self.warmups],
            "warmup_steps": self.warmup_steps,
            "clip_norm": self.clip_norm,
            "lr": self.lr,
            "overrides": list(self.overrides),
            "verdict": None if said is None else said.verdict,
            "comparison": None if said is None else said.plain(),
            "comparison_page": None if said is None else said.page,
        }


def mend(bench: Bench, verdict: str, best: BestRate, unstable: float, max_repeats: int) -> Mended:
    """Find what mends it, tune the learning rate with it, and compare that with the baseline on fresh seeds."""
    config = bench.call.config
    base = rounded(TIMES * unstable)
    norms = [bench.runs[best.lr, seed].grad_norms for seed in bench.seeds]
    proposed = [value for each in norms if (value := threshold(pl.Series(each))) is not None]
    clip_norm = float(f"{np.median(proposed):.2g}") if proposed else None
    warmups = _warmups(bench, best, base) if verdict == "unstable early" else ()
    shortest = min((each.steps for each in warmups if each.holds), default=None)
    if shortest is not None:
        fix: dict[str, int | float] = {"warmup_steps": shortest}
    elif clip_norm is not None and clip_norm != config.clip_norm:
        fix = {"clip_norm": clip_norm}
    else:
        return Mended(base, warmups, clip_norm, {}, (), None, None)
    words = [f"{key}={value:g}" for key, value in fix.items()]
    grid = [rounded(float(lr)) for lr in np.geomspace(best.lr, base, RATES)]
    part = f"mended-{best.lr:g}-{base:g}-{'-'.join(words)}"
    runs = bench.train(part, f"which learning rate is best with {' '.join(words)}?", grid, *words)
    rates = [Rate(lr, tuple(run.objective for run in runs if run.lr == lr), ()) for lr in grid]
    mended = best_rate(rates, config.objective.mode)
    if mended is None:
        return Mended(base, warmups, clip_norm, fix, tuple(rates), None, None)
    comparison = _compare(bench, [*words, f"lr={mended.lr:g}"], best, fix, max_repeats)
    return Mended(base, warmups, clip_norm, fix, tuple(rates), mended.lr, comparison)


def warmup_lengths(max_steps: int) -> list[int]:
    """Orders of magnitude up to a tenth of `max_steps`, in ascending order (E6)."""
    longest = max(1, math.floor(Thresholds.early * max_steps))
    return sorted({max(1, longest // 10**power) for power in range(len(str(longest)))})


def _warmups(bench: Bench, best: BestRate, base: float) -> tuple[Warmup, ...]:
    """Warmups from the shortest to the first that holds; and one between it and the one that did not."""
    tried: list[Warmup] = []
    for steps in warmup_lengths(bench.call.config.max_steps):
        tried.append(_warmup(bench, best, base, steps))
        if tried[-1].holds:
            break
    if len(tried) > 1 and tried[-1].holds:
        between = round(math.sqrt(tried[-2].steps * tried[-1].steps))
        if tried[-2].steps < between < tried[-1].steps:
            tried.insert(-1, _warmup(bench, best, base, between))
    return tuple(tried)


def _warmup(bench: Bench, best: BestRate, base: float, steps: int) -> Warmup:
    after = max(2 * steps, min(FEWEST_STEPS, bench.call.config.max_steps) - steps)
    words = [f"warmup_steps={steps}", f"max_steps={after}", f"eval_every={after + steps}", "keep_best=0"]
    goal = f"does a warmup of {steps:,} steps hold at {base:g}?"
    runs = bench.train_constant(f"warmup-{base:g}-{steps}", goal, base, bench.seeds, *words)
    holding = sum(
        holds(run.losses, bench.runs[best.lr, run.seed].losses, bench.calm(run.seed, base, best.lr)) for run in runs
    )
    return Warmup(steps, tuple(runs), holding)


def _compare(
    bench: Bench, mended: list[str], best: BestRate, fix: Mapping[str, int | float], max_repeats: int
) -> Comparison:
    call = bench.call
    changed = {"lr", *fix}
    kept, launcher = [], None
    for word in call.words:
        key = override_key(word)
        if key == "hydra/launcher":
            launcher = word.partition("=")[2]
        elif key not in changed and not key.startswith("hydra"):
            kept.append(word)
    before = {key: getattr(call.config, key) for key in fix}
    baseline = [*(f"{key}={'null' if value is None else value}" for key, value in before.items()), f"lr={best.lr:g}"]
    call.console.print("compare: is the mended configuration better, on fresh seeds?", highlight=False)
    return compare(
        [*kept, *mended],
        [*kept, *baseline],
        max_repeats=max_repeats,
        launcher=launcher,
        output_root=call.config.output_root,
        quiet=call.console.quiet,
    )
