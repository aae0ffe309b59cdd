"""Where a run stands: what a checkpoint to go on from holds besides weights and optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from playbook.config import Config
from playbook.errors import InputError
from playbook.run_files import RECORDS, Mark


@dataclass
class RunState:
    """The record of a run up to `step`; in a checkpoint as plain containers."""

    environment: dict[str, Any] = field(default_factory=dict)
    """What besides the config decides the numbers of the run: see `playbook.training.device.environment`."""
    checkpoint: Path | None = None
    """To go on from; None before the first commit."""
    step: int = 0
    """Updates that are done."""
    objectives: list[tuple[int, float]] = field(default_factory=list)
    """(step, value of the objective) of every evaluation."""
    standard_errors: dict[int, float] = field(default_factory=dict)
    """Of the objective over validation examples, by step, where the task knows the noise of one."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Those of the last evaluation."""
    seconds: float = 0.0
    """Spent so far, evaluations and commits included."""
    tables: dict[str, Mark] = field(default_factory=dict)
    """How much of each table has been written, and its checksum."""

    def best(self, mode: Literal["min", "max"], count: int) -> list[tuple[int, float]]:
        """The `count` best evaluations, best first; of equals the earlier one."""
        sign = 1 if mode == "min" else -1
        return sorted(self.objectives, key=lambda pair: (sign * pair[1], pair[0]))[:count]

    def weights_to_keep(self, config: Config) -> list[int]:
        """The steps of the best evaluations so far, and of those up to each kept commit: whoever goes on from there
        may find no better one."""
        mode, count = config.objective.mode, config.keep_best
        steps = [step for step, _ in self.best(mode, count)]
        for commit in (each for each in config.keep_commits if each <= self.step):
            until = RunState(objectives=[pair for pair in self.objectives if pair[0] <= commit])
            steps += [step for step, _ in until.best(mode, count)]
        return list(dict.fromkeys(steps))

    def plain(self) -> dict[str, Any]:
        """What goes into a checkpoint; the step is Lightning's `global_step` there."""
        history = {
            "objectives": self.objectives,
            "standard_errors": self.standard_errors,
            "metrics": self.metrics,
            "seconds": self.seconds,
            "tables": {name: tuple(mark) for name, mark in self.tables.items()},
        }
        return {"history": history, "environment": self.environment}

    @classmethod
    def of_checkpoint(cls, path: Path, content: Mapping[str, Any]) -> RunState:
        """What `plain` gave.

        Raises:
            InputError: the file holds something else.
        """
        try:
            history = content["history"]
            tables = dict(history["tables"])  # at step 0 without the one that has a row a step
            return cls(
                environment=dict(content["environment"]),
                checkpoint=path,
                step=int(content["global_step"]),
                objectives=[(int(step), float(value)) for step, value in history["objectives"]],
                standard_errors=dict(history.get("standard_errors", {})),
                metrics=dict(history["metrics"]),
                seconds=float(history["seconds"]),
                tables={name: Mark(*tables.get(name, Mark())) for name in RECORDS},
            )
        except (KeyError, TypeError, ValueError) as error:
            name = type(error).__name__
            raise InputError(f"{path} is not a checkpoint of this version of the program ({name}: {error})") from None
