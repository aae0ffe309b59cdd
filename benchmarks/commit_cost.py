"""What a commit costs beyond the evaluation itself: the records, the ranks, the checkpoints, all on the disk.

    OMP_NUM_THREADS=1 python benchmarks/commit_cost.py [--commits 100] [--folder DIR ...]

Trains the digits default with an evaluation every ten steps, and times what happens within each commit. `evaluation`
is the two passes over the data and the predictions of the kept examples; the other phases are what a commit adds. A
disk decides most of them, since everything is synced: by default that of the working directory and, for comparison,
/dev/shm, which has none.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from playbook.config import Config
from playbook.run_files import Record
from playbook.training import train
from playbook.training.checkpoints import SafeCheckpointIO
from playbook.training.evaluator import Evaluator
from playbook.training.loop import TrialLoop
from playbook.trial_config import compose

TARGET_MS = 10.0
STEPS_BETWEEN = 10
PHASES = ("records", "best checkpoint", "resume checkpoint", "rest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=100)
    parser.add_argument("--folder", type=Path, action="append", help="where to write; may be given more than once")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folders = arguments.folder or [path for path in (Path.cwd(), Path("/dev/shm")) if path.is_dir()]
    for folder in folders:
        report(folder, measure(folder, arguments.commits))


def measure(folder: Path, num_commits: int) -> list[dict[str, float]]:
    """Seconds of each phase of each commit, the first one left out: it makes the files."""
    commits: list[dict[str, float]] = []
    spent: dict[str, float] = defaultdict(float)

    def timed(name: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            began = perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                spent[name(*arguments)] += perf_counter() - began

        return call

    def commit(self: TrialLoop) -> None:
        spent.clear()
        whole(self)
        spent["rest"] = spent["whole"] - sum(seconds for name, seconds in spent.items() if name != "whole")
        commits.append(dict(spent))

    def of_checkpoint(_io: SafeCheckpointIO, _checkpoint: Any, path: Any, *_: Any) -> str:
        return "best checkpoint" if Path(path).name.startswith("step_") else "resume checkpoint"

    whole = timed(lambda *_: "whole", TrialLoop.commit)
    with (
        tempfile.TemporaryDirectory(dir=folder) as temporary,
        patch.object(Evaluator, "evaluate", timed(lambda *_: "evaluation", Evaluator.evaluate)),
        patch.object(Record, "write", timed(lambda *_: "records", Record.write)),
        patch.object(SafeCheckpointIO, "save_checkpoint", timed(of_checkpoint, SafeCheckpointIO.save_checkpoint)),
        patch.object(TrialLoop, "commit", commit),
    ):
        train(digits_default(Path(temporary) / "run", num_commits), verbose=False)
    return commits[1:]


def digits_default(folder: Path, num_commits: int) -> Config:
    overrides = [
        *("logger=none", "trainer.device=cpu", "trainer.num_threads=1"),
        *(f"max_steps={num_commits * STEPS_BETWEEN}", f"eval_every={STEPS_BETWEEN}", f"output_dir={folder}"),
    ]
    return compose(*overrides)


def report(folder: Path, commits: list[dict[str, float]]) -> None:
    print(f"\n{folder}: {len(commits)} commits, one thread, milliseconds")
    print(f"  {'':22} {'median':>8} {'5 %':>8} {'95 %':>8}")
    for phase in PHASES:
        # Not every commit has a best checkpoint: the median is of those that do.
        values = [seconds[phase] * 1e3 for seconds in commits if phase in seconds]
        row(phase, values, "" if len(values) == len(commits) else f"in {len(values)} of them")
    beyond = [(seconds["whole"] - seconds["evaluation"]) * 1e3 for seconds in commits]
    verdict = "within" if median(beyond) < TARGET_MS else "above"
    row("beyond the evaluation", beyond, f"{verdict} the target of {TARGET_MS:g} ms")
    row("evaluation", [seconds["evaluation"] * 1e3 for seconds in commits])


def row(name: str, values: list[float], remark: str = "") -> None:
    if len(values) > 1:
        low, *_, high = quantiles(values, n=20, method="inclusive")
        print(f"  {name:22} {median(values):8.2f} {low:8.2f} {high:8.2f}   {remark}".rstrip())


if __name__ == "__main__":
    main()
