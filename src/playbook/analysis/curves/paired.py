"""How far the end is above the best stretch, example by example: the rise of each trial, and what it rests on.

The stretch is chosen on one half of the validation examples, by the other trials, and the rise from there to the end
is measured on the other half, and the other way round (Dietterich 1998): neither the luck of some examples nor that of
one trial can choose it. The examples are the same in all trials, so their luck does not average out over trials; nor
does a trial's over examples. Both are in the standard error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from playbook.analysis.curves.pooled import Pooled, lowest_of_the_others, stretches, width
from playbook.analysis.examples import Examples


@dataclass(frozen=True)
class PairedRise:
    """The mean rise over examples and trials, with its error.

    `examples` is how many validation examples there are; `of_examples` how many of them the mean trial misses more at
    the end than before, None where the values are losses.
    """

    pooled: Pooled
    examples: int
    of_examples: float | None


def comparable(examples: Sequence[Examples | None]) -> list[Examples]:
    """All of them where all have the same examples and as many evaluations, none of them infinite; else none."""
    known = [each for each in examples if each is not None and each.values.shape[1] >= 2]
    shapes = {each.values.shape for each in known}
    if len(known) < len(examples) or len(shapes) != 1:
        return []
    return known if all(np.isfinite(each.values.sum(dtype=np.float64)) for each in known) else []


def paired_rise(trials: Sequence[Examples], seed: int = 0) -> PairedRise:
    """The rise of two trials or more with the same examples, which `seed` splits into halves."""
    evaluations, count = trials[0].values.shape
    wide = width(evaluations)
    first_half = np.zeros(count, dtype=bool)
    first_half[np.random.default_rng(seed).permutation(count)[: count // 2]] = True
    halves = (first_half, ~first_half)
    means = [[each.values[:, half].mean(axis=1, dtype=np.float64) for half in halves] for each in trials]
    low = lowest_of_the_others(stretches(np.array(means), wide))  # (trials, halves)
    of_examples, of_trials, counted = np.zeros(count), np.zeros(len(trials)), True
    for number, each in enumerate(trials):
        rise = each.values[-wide:].mean(axis=0, dtype=np.float64)
        for half, chosen in zip(halves, low[number][::-1], strict=True):  # judged where it was not chosen
            rise[half] -= each.values[chosen : chosen + wide, half].mean(axis=0, dtype=np.float64)
        counted = counted and bool(np.isin(each.values[-1], (0, 1)).all())
        of_examples += rise / len(trials)
        of_trials[number] = rise.mean()
    by_examples, by_trials = of_examples.var(ddof=1) / count, of_trials.var(ddof=1) / len(trials)
    both = float(by_examples + by_trials)
    freedom = (len(trials) - 1) * (both / by_trials) ** 2 if by_trials > 0 else math.inf  # Satterthwaite 1946
    mean = float(of_trials.mean())
    pooled = Pooled(mean, math.sqrt(both), float(min(freedom, count - 1)))
    return PairedRise(pooled, count, mean * count if counted else None)
