"""Where trials fail: the value of a hyperparameter that parts those that failed from those that did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from playbook.study.space import Dimension, is_number

Side = Literal["above", "below"]
SIDES: tuple[Side, Side] = ("above", "below")


@dataclass(frozen=True)
class Thresholds:
    """What a cut must be to say where trials fail."""

    apart: float = 0.7
    """The difference between the fractions that failed on its two sides."""
    fewest: int = 2
    """Trials beyond it that failed."""


@dataclass(frozen=True)
class Cut:
    """Beyond `value`, on the side named, `inside` of `num_inside` trials failed; elsewhere `outside` of `num_outside`.

    `p` is the chance of as uneven a split: Fisher's exact test, times the values that were tried.
    """

    key: str
    side: Side
    value: float
    inside: int
    num_inside: int
    outside: int
    num_outside: int
    p: float

    def separates(self, limits: Thresholds = Thresholds()) -> bool:
        """Whether most trials beyond it failed and few of the others."""
        apart = self.inside / self.num_inside - self.outside / self.num_outside
        return self.inside >= limits.fewest and apart >= limits.apart


def threshold(trials: pl.DataFrame, failed: pl.Series, key: str, dimension: Dimension, side: Side) -> Cut | None:
    """The value with the most trials where they belong: those that failed beyond it, the others not.

    `failed` has a truth value for each trial. None where that parts nothing: all values are the same, all trials
    failed, or none did.
    """
    from scipy.stats import hypergeom

    given = trials[key].to_list()
    here = [is_number(value) for value in given]
    values = np.array([float(value) for value, number in zip(given, here, strict=True) if number])
    bad = failed.to_numpy()[here]
    distinct = np.unique(values)
    if len(distinct) < 2 or bad.all() or not bad.any():
        return None
    count, num_bad = len(values), int(bad.sum())
    order = np.argsort(values, kind="stable")
    bad_below = np.concatenate([[0], np.cumsum(bad[order])])
    below = np.searchsorted(values[order], distinct[1:])  # how many trials lie below each possible threshold
    num_inside = count - below if side == "above" else below
    inside = num_bad - bad_below[below] if side == "above" else bad_below[below]
    in_place = inside + (count - num_inside) - (num_bad - inside)
    most = np.flatnonzero(in_place == in_place.max())
    chances = hypergeom.sf(inside[most] - 1, count, num_bad, num_inside[most])
    cut = int(most[np.argmin(chances)])
    n, k, p = int(num_inside[cut]), int(inside[cut]), min(float(chances.min()) * len(below), 1.0)
    ends = dimension.to_scale(float(distinct[cut])), dimension.to_scale(float(distinct[cut + 1]))
    value = dimension.from_scale(sum(ends) / 2)
    return Cut(key, side, value, k, n, num_bad - k, count - n, p)
