"""Where a run is shown besides its files. A fork's logger subclasses `RunLogger`; `conf/logger/` names the class."""

from playbook.loggers.base import GuardedLogger, NullLogger, RunLogger
from playbook.loggers.wandb import WandbLogger

__all__ = ["GuardedLogger", "NullLogger", "RunLogger", "WandbLogger"]
