"""Where a run is shown besides its files. A logger only watches: what it shows can be rebuilt from the files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from playbook.errors import one_line
from playbook.run_files import Result, StepRows

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger


class RunLogger:
    """Where a run is shown; by itself nowhere. Subclass it to send a run elsewhere, and override what it needs.

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


class NullLogger(RunLogger):
    """`logger=none`: the files are enough."""


class GuardedLogger(RunLogger):
    """A logger whose troubles are not the trial's: at the first, a line is printed and it is asked no more."""

    def __init__(self, logger: RunLogger) -> None:
        self._logger: RunLogger | None = logger

    @property
    def lightning_logger(self) -> Logger | None:  # type: ignore[override]
        """That of the logger."""
        return None if self._logger is None else self._logger.lightning_logger

    @property
    def where(self) -> str | None:  # type: ignore[override]
        """That of the logger."""
        return None if self._logger is None else self._logger.where

    def open(self, *, run_dir: str, config: Mapping[str, Any]) -> None:
        self._ask(lambda logger: logger.open(run_dir=run_dir, config=config))

    def log_steps(self, rows: StepRows) -> None:
        self._ask(lambda logger: logger.log_steps(rows))

    def log_evaluation(self, step: int, metrics: Mapping[str, float], predictions: list[tuple[Any, ...]]) -> None:
        self._ask(lambda logger: logger.log_evaluation(step, metrics, predictions))

    def close(self, result: Result | None) -> None:
        self._ask(lambda logger: logger.close(result))

    def _ask(self, request: Callable[[RunLogger], None]) -> None:
        if self._logger is None:
            return
        try:
            request(self._logger)
        except Exception as error:
            words = one_line(error) or type(error).__name__
            name = type(self._logger).__name__
            print(f"warning: {name} shows nothing more of this run ({words}); the files are complete", file=sys.stderr)
            lost, self._logger = self._logger, None
            with suppress(Exception):
                lost.close(None)
