"""Learning-rate schedules: the rate of a step is a function of the step alone (rules `E1` and `E6`).

With no state to save, a resumed run and a run that starts anywhere have the right rate, and the whole schedule can be
drawn before training. Steps count from 0; the rate of step t is the one that the update of step t uses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field, PositiveInt

from playbook.errors import InputError

Fraction = Annotated[float, Field(ge=0, le=1)]


@runtime_checkable
class Schedule(Protocol):
    """What a `schedule` option must provide."""

    def factor(self, step: int, max_steps: int) -> float:
        """What the base rate is multiplied by at `step`, 0 ≤ step < max_steps, warmup not counted."""


@dataclass(frozen=True)
class Constant:
    """The base rate throughout."""

    def factor(self, step: int, max_steps: int) -> float:
        """1 at every step."""
        return 1.0


@dataclass(frozen=True)
class Linear:
    """Constant, then a straight line to `final_fraction` of the base rate over the last `decay_steps`; None is all.

    The line arrives at step max_steps, one after the last, so that no step is spent at a rate of 0.
    """

    decay_steps: PositiveInt | None = None
    final_fraction: Fraction = 0.0

    def factor(self, step: int, max_steps: int) -> float:
        """1 − (1 − f)·p, where p is the part of the decay that is over and f the final fraction."""
        return 1 - (1 - self.final_fraction) * _progress(step, max_steps, self.decay_steps)


@dataclass(frozen=True)
class Cosine:
    """Constant, then half a cosine to `final_fraction` of the base rate over the last `decay_steps`; None is all.

    After Loshchilov and Hutter 2017, without restarts. It arrives at step max_steps, as `Linear` does.
    """

    decay_steps: PositiveInt | None = None
    final_fraction: Fraction = 0.0

    def factor(self, step: int, max_steps: int) -> float:
        """f + (1 − f)·(1 + cos πp)/2, where p is the part of the decay that is over and f the final fraction."""
        progress = _progress(step, max_steps, self.decay_steps)
        return self.final_fraction + (1 - self.final_fraction) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class WSD:
    """Warmup, stable, decay (Hu et al. 2024, MiniCPM, arXiv 2404.06395): the base rate, and a decay at the end.

    The last `decay_fraction` of the run decays to `final_fraction` of the base rate, arriving as `Linear` does; warmup
    is `warmup_steps`, as with every schedule. All of the run before the decay is the beginning of longer runs too.
    How far the decay has come, p from 0 to 1, becomes by `shape`:

    - `linear` 1 − p (Defazio et al. 2023, arXiv 2310.07831), `cosine` (1 + cos πp)/2;
    - `sqrt` 1 − √p, which did best of those that Hägele et al. 2024 (arXiv 2405.18392) tried, `square` 1 − p²;
    - `exponential` fᵖ for the final fraction f, which MiniCPM uses; all others go to f by f + (1 − f)·shape.

    Raises:
        InputError: an exponential decay to 0.
    """

    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    shape: Literal["linear", "cosine", "sqrt", "square", "exponential"] = "sqrt"
    final_fraction: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.shape == "exponential" and self.final_fraction == 0:
            raise InputError(
                "schedule.final_fraction=0.0: an exponential decay never arrives at 0;"
                " give what is left at its end, such as 0.1 (MiniCPM), or schedule.shape=sqrt"
            )

    def factor(self, step: int, max_steps: int) -> float:
        """See the class; the decay has a whole number of steps, at least one."""
        decay_steps = max(1, round(self.decay_fraction * max_steps))
        progress = _progress(step, max_steps, decay_steps)
        if self.shape == "exponential":
            return float(self.final_fraction**progress)
        left = {
            "linear": 1 - progress,
            "cosine": (1 + math.cos(math.pi * progress)) / 2,
            "sqrt": 1 - math.sqrt(progress),
            "square": 1 - progress**2,
        }[self.shape]
        return self.final_fraction + (1 - self.final_fraction) * left


def learning_rate(step: int, *, lr: float, schedule: Schedule, max_steps: int, warmup_steps: int) -> float:
    """The rate of `step` in a run of warmup_steps + max_steps steps (`E6`).

    Warmup is prepended: the rate rises along a straight line from 0 at step 0 towards `lr`, reached at step
    warmup_steps, where the schedule begins as if it were step 0. So warmup takes nothing from the schedule:
    10,000 steps with 1,000 of warmup are 11,000.
    """
    if step < warmup_steps:
        return lr * step / warmup_steps
    return lr * schedule.factor(step - warmup_steps, max_steps)


def _progress(step: int, max_steps: int, decay_steps: int | None) -> float:
    """How much of the decay is over: 0 until it begins, 1 at max_steps and after."""
    if decay_steps is None:
        decay_steps = max_steps
    if decay_steps > max_steps:
        raise InputError(
            f"schedule.decay_steps={decay_steps} is more than max_steps={max_steps}; "
            f"give at most {max_steps}, or null to decay all the way"
        )
    return min(max((step - (max_steps - decay_steps)) / decay_steps, 0.0), 1.0)
