"""A research template that runs the Deep Learning Tuning Playbook.

`playbook.load_run(path)` reads a run. Everything is imported when it is first used, so that `import playbook` is free.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# A waiting OpenMP thread spins by default. Where other processes want the core, as the trials of a study do, each
# operation then waits for a spinning stranger: 500 steps of the digits network took 16 s beside two busy processes and
# 0.5 s with threads that sleep. Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from playbook.training.run import Run, load_run

__all__ = ["Run", "load_run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from playbook.training import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
