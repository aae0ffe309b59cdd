"""A research template that runs the Deep Learning Tuning Playbook.

`playbook.load_run(path)` reads a run, `playbook.plot_run(run)` draws it; `playbook.load_study(path)` reads a study, and
its `findings()` say what stands out. Everything is imported when it is first
used, so that `import playbook` is free.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

# A waiting OpenMP thread spins for milliseconds by default. Where other processes want the core, as the trials of a
# study do, each operation then waits for a spinning stranger: twenty times as long (docs/benchmarks.md). To spin for
# microseconds costs nothing on a free machine. Read by GNU's OpenMP, which torch for Linux has, when it is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from playbook.analysis.study import load_study
    from playbook.report import plot_run
    from playbook.study.load import Study
    from playbook.training.load import Run, load_run

__all__ = ["Run", "Study", "load_run", "load_study", "plot_run"]

_HOMES = {
    "Run": "playbook.training.load",
    "load_run": "playbook.training.load",
    "Study": "playbook.study.load",
    "load_study": "playbook.analysis.study",
    "plot_run": "playbook.report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
