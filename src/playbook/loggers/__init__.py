"""Where a run is shown besides its files. A fork's logger subclasses `RunLogger`; `conf/logger/` names the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from playbook.loggers.base import GuardedLogger, NullLogger, RunLogger

if TYPE_CHECKING:
    from playbook.loggers.wandb import WandbLogger

__all__ = ["GuardedLogger", "NullLogger", "RunLogger", "WandbLogger"]


def __getattr__(name: str) -> Any:
    if name == "WandbLogger":  # on first use: a run without W&B does not pay for its import
        from playbook.loggers.wandb import WandbLogger

        return WandbLogger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
