"""How a trial ended, in the words of `result.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from playbook.config import Config
from playbook.run_files import Result, finite
from playbook.tasks import Task
from playbook.training.commit import History


def complete(
    config: Config,
    history: History,
    task: Task,
    validation_targets: Tensor,
    *,
    seconds: float,
    environment: Mapping[str, Any],
) -> Result:
    """A trial that did all of its steps: its best evaluation counts, wherever it was (D3)."""
    ((best_step, objective),) = history.best(config.objective.mode, 1)
    chance = _chance(config, task, validation_targets)
    return Result(
        status="complete",
        objective=objective,
        best_step=best_step,
        final_objective=history.objectives[-1][1],
        steps=config.total_steps,
        chance=chance,
        above_chance=None if chance is None else _above_chance(config, objective, chance),
        **_common(config, history, seconds, environment),
    )


def infeasible(
    config: Config,
    history: History,
    *,
    reason: Literal["diverged", "out_of_memory"],
    step: int,
    message: str,
    seconds: float,
    environment: Mapping[str, Any],
) -> Result:
    """A trial that no longer had a loss, or a place in memory, at `step`: a fact of the run, and a result."""
    return Result(
        status="infeasible",
        objective=None,
        best_step=None,
        final_objective=None,
        steps=step,
        reason=reason,
        reason_step=step,
        reason_message=message,
        **_common(config, history, seconds, environment),
    )


def _common(config: Config, history: History, seconds: float, environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "seconds": round(seconds, 3),
        "metrics": finite(history.metrics),
        "seed": config.seed,
        "objective_metric": config.objective.metric,
        "objective_mode": config.objective.mode,
        "environment": dict(environment),
    }


def _chance(config: Config, task: Task, validation_targets: Tensor) -> float | None:
    """What the best constant prediction gets (A10), where the objective is a metric of the validation split."""
    split, _, name = config.objective.metric.partition("/")
    return task.chance(validation_targets).get(name) if split == "val" else None


def _above_chance(config: Config, objective: float, chance: float) -> float | None:
    """The share of the way from chance to perfect that the trial went."""
    perfect = 0.0 if config.objective.mode == "min" else 1.0
    return (chance - objective) / (chance - perfect) if chance != perfect else None
