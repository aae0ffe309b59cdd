"""A research template that runs the Deep Learning Tuning Playbook.

`playbook.load_run(path)` reads a run, `playbook.load_study(path)` a study. Everything is imported when it is first
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
    from playbook.studies import Study, load_study, run_study
    from playbook.training.load import Run, load_run

__all__ = ["Run", "Study", "load_run", "load_study", "run_study"]

_HOMES = {
    "Run": "playbook.training.load",
    "load_run": "playbook.training.load",
    "Study": "playbook.studies",
    "load_study": "playbook.studies",
    "run_study": "playbook.studies",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
