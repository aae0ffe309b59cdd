"""Which learning rate of a sweep gets to a training metric's target in the fewest steps, and whether one beyond the
sweep might do better (C3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Edge = Literal["low", "high", "both"]


@dataclass(frozen=True)
class Thresholds:
    """What the answer depends on."""

    as_fast: float = 1.25
    """Steps of a trial over the fewest, up to which it may be the faster one with another seed: seeds of one setting
    differ by about a tenth on digits, and two of them are compared."""


@dataclass(frozen=True)
class SweptTrial:
    """A trial at `lr`: its `steps_to` the target; the training loss at its end, None where it diverged."""

    lr: float
    steps: int | None
    final_loss: float | None


@dataclass(frozen=True)
class Fastest:
    """The trial to go by: the fastest, or, where none arrived, the one whose training loss is least.

    `edge` is the side of the sweep beyond which a better lr may lie: no trial on that side is clearly slower. Where
    all trials diverged there is no `trial`, and the edge is the low one.
    """

    trial: SweptTrial | None
    edge: Edge | None
    arrived: bool


def steps_to(target: float, curve: Sequence[tuple[int, float]]) -> int | None:
    """The first step of a curve of (step, value) from which on the value is at most the target for as long again.

    None where there is none. What gets there by chance for one evaluation, and is off at the next, has not arrived. At
    the end of a trial there may be no as long again: then to the end.
    """
    for place, (step, _) in enumerate(curve):
        if all(value <= target for later, value in curve[place:] if later <= 2 * step):
            return step
    return None


def enough_for_all(target: float, curves: Sequence[Sequence[tuple[int, float]]]) -> int | None:
    """The first step at which all trials, evaluated at the same steps, have arrived and are at the target."""
    arrivals = [steps_to(target, curve) for curve in curves]
    slowest = max((arrival for arrival in arrivals if arrival is not None), default=0)
    if None in arrivals:
        return None
    found = [{step for step, value in curve if value <= target and step >= slowest} for curve in curves]
    return min(set.intersection(*found), default=None)


def fastest(trials: Sequence[SweptTrial], eval_every: int, limits: Thresholds = Thresholds()) -> Fastest:
    """The fastest of a sweep whose trials were evaluated every `eval_every` steps."""
    by_lr = sorted(trials, key=lambda trial: trial.lr)
    arrived = [trial for trial in by_lr if trial.steps is not None]
    if arrived:
        fewest = min(trial.steps or 0 for trial in arrived)
        slowest = max(limits.as_fast * fewest, fewest + eval_every)
        as_fast = [trial for trial in arrived if (trial.steps or 0) <= slowest]
        middle = math.log(as_fast[0].lr * as_fast[-1].lr) / 2
        first = min(as_fast, key=lambda trial: (trial.steps, abs(math.log(trial.lr) - middle)))
        return Fastest(first, _edge(by_lr, as_fast), arrived=True)
    ended = [trial for trial in by_lr if trial.final_loss is not None]
    if not ended:
        return Fastest(None, "low", arrived=False)
    least = min(ended, key=lambda trial: trial.final_loss or 0.0)
    return Fastest(least, _edge(by_lr, [least]), arrived=False)


def _edge(by_lr: Sequence[SweptTrial], best: Sequence[SweptTrial]) -> Edge | None:
    low, high = by_lr[0] in best, by_lr[-1] in best
    return "both" if low and high else "low" if low else "high" if high else None
