"""What the trials of `critical_batch_size` say of each batch size: when its best trial reached the target, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from playbook.analysis.critical_batch_size import Reached, first_reached
from playbook.analysis.noise_scale import NoiseMeasured
from playbook.analysis.study import Study
from playbook.study.design import Objective

FIRST_STEPS = 5
"""Not timed: buffers are allocated and kernels are chosen in them."""


@dataclass(frozen=True)
class Attempt:
    """A trial: its learning rate, and when it reached the target, None where it did not."""

    trial: int
    lr: float
    reached: Reached | None
    status: str


@dataclass(frozen=True)
class Size:
    """A batch size: its trials by learning rate, and the best of them, which reached the target in fewest steps.

    `step_seconds` is the median time of a step of that trial, waiting for data included, and `max_steps` what each
    trial had. `edge` says which end of the range that was tried the best one lies at, so that the size may do better.
    """

    batch_size: int
    attempts: tuple[Attempt, ...]
    max_steps: int
    step_seconds: float | None = None

    @property
    def best(self) -> Attempt | None:
        """None where no trial reached the target."""
        reached = [each for each in self.attempts if each.reached is not None]
        return min(reached, key=_steps) if reached else None

    @property
    def steps(self) -> float | None:
        """To the target, of the best trial."""
        return None if self.best is None else _steps(self.best)

    @property
    def edge(self) -> Literal["lowest", "highest"] | None:
        """Where the best learning rate is the first or the last of those that were tried."""
        if self.best is None or len(self.attempts) < 2:
            return None
        lrs = [each.lr for each in self.attempts]
        return "lowest" if self.best.lr == min(lrs) else "highest" if self.best.lr == max(lrs) else None

    @property
    def left_out(self) -> str | None:
        """Why the fit does not use it; None where it does."""
        if self.best is None:
            if all(each.status != "complete" for each in self.attempts):
                return "no trial of it trained"
            return f"none of its trials reached the target in {self.max_steps} steps"
        return None if self.edge is None else f"its best lr={self.best.lr:.3g} is the {self.edge} that was tried"

    @property
    def seconds(self) -> float | None:
        """Of training to the target, evaluations not counted."""
        return None if self.steps is None or self.step_seconds is None else self.steps * self.step_seconds


def _steps(attempt: Attempt) -> float:
    assert attempt.reached is not None
    return attempt.reached.steps


def attempts_of(study: Study, target: float, objective: Objective) -> dict[str, tuple[Attempt, ...]]:
    """The trials of each arm, by their learning rate."""
    curves = study.curves([objective.metric]).partition_by("trial", as_dict=True)
    found: dict[str, list[Attempt]] = {}
    for row in study.trials.sort("lr").iter_rows(named=True):
        curve = curves.get((row["trial"],))
        reached = None
        if curve is not None:
            curve = curve.sort("step")
            reached = first_reached(curve["step"].to_list(), curve["value"].to_list(), target, objective.mode)
        found.setdefault(row["arm"], []).append(Attempt(row["trial"], float(row["lr"]), reached, row["status"]))
    return {arm: tuple(attempts) for arm, attempts in found.items()}


def sizes_of(study: Study, batch_sizes: Mapping[str, int], target: float) -> list[Size]:
    """Each size, the smallest first; `batch_sizes` has them by arm."""
    attempts, cases = attempts_of(study, target, study.design.objective), study.design.cases
    found = []
    for arm, batch_size in sorted(batch_sizes.items(), key=lambda item: item[1]):
        size = Size(batch_size, attempts.get(arm, ()), int(str(cases[arm].settings["max_steps"])))
        timed = None if size.best is None else _step_seconds(study, size.best.trial)
        found.append(Size(batch_size, size.attempts, size.max_steps, timed))
    return found


def _step_seconds(study: Study, trial: int) -> float | None:
    seconds = study.steps(trial)["step_seconds"]
    later = seconds[FIRST_STEPS:] if len(seconds) > 2 * FIRST_STEPS else seconds
    median = later.median()
    return float(median) if isinstance(median, float) else None


def noise_measured(study: Study, sizes: Sequence[Size]) -> list[NoiseMeasured]:
    """What the best trial of each size measured of the gradient's noise on its way to the target."""
    from playbook.training.gradient_noise import SQUARED_NORM, VARIANCE  # torch

    curves = study.curves([VARIANCE, SQUARED_NORM])
    found = []
    for size in sizes:
        if size.best is None or size.best.reached is None:
            continue
        own = curves.filter(pl.col("trial") == size.best.trial, pl.col("step") <= size.best.reached.by)
        by_step = own.pivot("metric", index="step", values="value") if len(own) else own
        for row in by_step.iter_rows(named=True):
            progress = row["step"] / max(size.best.reached.steps, 1e-9)
            found.append(NoiseMeasured(size.best.trial, progress, row[VARIANCE], row[SQUARED_NORM]))
    return found
