"""Where a run is shown besides its files. A mirror only watches: what it shows can be rebuilt from the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger

from playbook.records import Result
from playbook.training.recorder import StepRows


class NoMirror:
    """The files are enough; also what every mirror can do. Subclass it to send a run elsewhere.

    Steps are those of the files: a step's row belongs to the weights before its update, an evaluation at step k to
    those after k updates.
    """

    lightning_logger: Logger | None = None
    """What the trainer is given, for callbacks that log by themselves."""

    where: str | None = None
    """Once it is open: where to look at the run, in a line for the user."""

    def open(self, *, run_dir: str, config: Mapping[str, Any]) -> None:
        """Called once training is certain to begin, with the run's folder and its config as plain containers."""

    def log_steps(self, rows: StepRows) -> None:
        """Called at each commit with the steps since the last."""

    def log_evaluation(self, step: int, metrics: Mapping[str, float], predictions: list[tuple[Any, ...]]) -> None:
        """Called at each evaluation."""

    def close(self, result: Result | None) -> None:
        """Called once at the end; without a result where the trial was cut short."""
