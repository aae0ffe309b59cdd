"""A research template that runs the Deep Learning Tuning Playbook.

    config = playbook.compose("model=cnn", "lr=0.02")  # the config of `python train.py model=cnn lr=0.02`
    result = playbook.train(config)                    # trains it, or finds it finished
    run = playbook.load_run(config.output_dir)         # what it recorded, and its best model
    playbook.plot_run(run)                             # its picture
    study = playbook.run_study("study=learning_rate")  # as `python train.py -m study=learning_rate`
    study = playbook.load_study("outputs/studies/…")   # its trials, and what stands out: `study.findings()`
    playbook.compare(["lr=0.1"], [])                   # is a change real? as `python scripts/compare.py`

Everything is imported when it is first used, so that `import playbook` is free.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# A waiting OpenMP thread spins for milliseconds by default. Where other processes want the core, as the trials of a
# study do, each operation then waits for a spinning stranger: twenty times as long (docs/benchmarks.md). To spin for
# microseconds costs nothing on a free machine. Read by GNU's OpenMP, which torch for Linux has, when it is loaded: so
# it stands here, which runs before any module of ours that imports torch.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from playbook.analysis.study import Study, load_study
    from playbook.config import Config
    from playbook.procedures.compare import compare
    from playbook.procedures.cooldowns import cooldowns
    from playbook.procedures.critical_batch_size import critical_batch_size
    from playbook.procedures.diagnose_stability import diagnose_stability
    from playbook.procedures.evaluate import evaluate
    from playbook.procedures.find_batch_size import find_batch_size
    from playbook.procedures.find_max_steps import find_max_steps
    from playbook.procedures.next_round import next_round
    from playbook.report import plot_run
    from playbook.studies import run_study
    from playbook.training.load import Run, load_run
    from playbook.training.trial import train
    from playbook.trial_config import compose

__all__ = [
    "Config",
    "Run",
    "Study",
    "compare",
    "compose",
    "cooldowns",
    "critical_batch_size",
    "diagnose_stability",
    "evaluate",
    "find_batch_size",
    "find_max_steps",
    "load_run",
    "load_study",
    "next_round",
    "plot_run",
    "run_study",
    "train",
]

_HOMES = {
    "Config": "playbook.config",
    "compare": "playbook.procedures.compare",
    "compose": "playbook.trial_config",
    "cooldowns": "playbook.procedures.cooldowns",
    "critical_batch_size": "playbook.procedures.critical_batch_size",
    "diagnose_stability": "playbook.procedures.diagnose_stability",
    "evaluate": "playbook.procedures.evaluate",
    "find_batch_size": "playbook.procedures.find_batch_size",
    "find_max_steps": "playbook.procedures.find_max_steps",
    "next_round": "playbook.procedures.next_round",
    "train": "playbook.training.trial",
    "Run": "playbook.training.load",
    "load_run": "playbook.training.load",
    "Study": "playbook.analysis.study",
    "load_study": "playbook.analysis.study",
    "plot_run": "playbook.report",
    "run_study": "playbook.studies",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
