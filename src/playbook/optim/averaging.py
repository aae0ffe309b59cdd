"""Averages of the weights along a run: how much of the newest weights goes into the average is a function of the step.

With θ the weights after `step` updates, each update is average ← average + share·(θ − average). What is averaged and
where it is evaluated is in `playbook.training.averaging`. Averaging shortens the tail of a decay, or replaces it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

from pydantic import Field


@runtime_checkable
class Averaging(Protocol):
    """What an `averaging` option must provide."""

    def share(self, step: int, total_steps: int) -> float:
        """The share, 0 to 1, of the weights after `step` updates (1 ≤ step ≤ total_steps) in the new average."""


@dataclass(frozen=True)
class NoAveraging:
    """No average is kept."""

    def share(self, step: int, total_steps: int) -> float:
        """1: what would be kept are the weights themselves."""
        return 1.0


@dataclass(frozen=True)
class EMA:
    """An exponential moving average: average ← decay·average + (1 − decay)·θ, begun with the weights of step 1.

    As `torch.optim.swa_utils.get_ema_multi_avg_fn`. It looks back over about 1 / (1 − decay) steps.
    """

    decay: Annotated[float, Field(ge=0, lt=1)] = 0.999

    def share(self, step: int, total_steps: int) -> float:
        """1 − decay; all of the first weights."""
        return 1.0 if step == 1 else 1 - self.decay


@dataclass(frozen=True)
class Polyak:
    """The plain mean of the weights of the last steps, after `start_fraction` of the run (Polyak and Juditsky 1992).

    As `torch.optim.swa_utils.AveragedModel` updated at each of those steps. Before them it is the weights themselves.
    """

    start_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def share(self, step: int, total_steps: int) -> float:
        """1 / n for the n-th of the steps that are averaged."""
        return 1 / max(1, step - int(self.start_fraction * total_steps))
