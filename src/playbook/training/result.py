"""How a trial ended, in the words of `result.json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

from playbook.batch import Batch
from playbook.config import Config
from playbook.data import Split
from playbook.run_files import RECORDS, Mark, Result, finite
from playbook.tasks import Task
from playbook.training.averaging import AVERAGED
from playbook.training.state import RunState


def complete(
    config: Config, state: RunState, task: Task, validation: Split, batches: Iterable[Batch], num_judged: int
) -> Result:
    """A trial that did all of its steps: its best evaluation counts, wherever it was (D3).

    `num_judged` is how many examples the objective is measured on.
    """
    so_far = _best_so_far(config, state, num_judged)
    chance = _chance(config, task, validation, batches)
    assert so_far.objective is not None
    return replace(
        so_far,
        status="complete",
        steps=config.total_steps,
        chance=chance,
        above_chance=None if chance is None else _above_chance(config, so_far.objective, chance),
    )


def infeasible(
    config: Config, state: RunState, *, reason: Literal["diverged", "out_of_memory"], step: int, message: str
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
        **_common(config, state),
    )


def paused(config: Config, state: RunState, num_judged: int) -> Result:
    """A trial that rests at its last evaluation."""
    return _best_so_far(config, state, num_judged)


def _best_so_far(config: Config, state: RunState, num_judged: int) -> Result:
    ((best_step, objective),) = state.best(config.objective.mode, 1)
    return Result(
        status="paused",
        objective=objective,
        objective_se=state.standard_errors.get(best_step),
        n_examples=num_judged,
        best_step=best_step,
        final_objective=state.objectives[-1][1],
        steps=state.step,
        **_common(config, state),
    )


def _common(config: Config, state: RunState) -> dict[str, Any]:
    return {
        "seconds": round(state.seconds, 3),
        "metrics": finite(state.metrics),
        "seed": config.seed,
        "objective_metric": config.objective.metric,
        "objective_mode": config.objective.mode,
        "environment": dict(state.environment),
        "tables": {name: state.tables.get(name, Mark()) for name in RECORDS},
    }


def _chance(config: Config, task: Task, validation: Split, batches: Iterable[Batch]) -> float | None:
    """What the best constant prediction gets (A10), where the objective is a metric of the validation split."""
    split, _, name = config.objective.metric.partition("/")
    if split not in ("val", AVERAGED):
        return None
    known = {} if validation.targets is None else task.chance(validation.targets)
    return (known if name in known else task.chance_over(batches)).get(name)


def _above_chance(config: Config, objective: float, chance: float) -> float | None:
    """The share of the way from chance to perfect that the trial went."""
    perfect = 0.0 if config.objective.mode == "min" else 1.0
    return (chance - objective) / (chance - perfect) if chance != perfect else None
