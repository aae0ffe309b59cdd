"""A trial's objective as trials are compared: lower is better, what failed is worst, and no number is monstrous.

A diverged run may end with a loss of 1e17 and still count as complete. Means, ranges and fits of raw objectives are
then about that run alone. The analysis therefore counts in *regret*: 0 is the best trial, 1 the typical one, and
everything from 2 on is 2, the infeasible trials too.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

Values = NDArray[np.float64]

WORST = 2.0
"""The largest regret: as far beyond the typical trial as the best is before it."""


def comparable(trials: pl.DataFrame) -> pl.DataFrame:
    """The trials that say something about their setting: a crash does not."""
    return trials.filter(pl.col("status") != "crashed")


def losses(trials: pl.DataFrame, sign: int) -> Values:
    """The objective of each trial times `sign`, so that lower is better; ∞ where there is none or it is not finite."""
    usable = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    objective = trials.select(pl.when(usable).then(pl.col("objective") * sign)).to_series()
    return objective.fill_null(np.inf).to_numpy().astype(np.float64)


def robust(loss: Values) -> Values:
    """The finite losses that are of one kind with the better ones, best first.

    Where most trials diverged to numbers that are finite, even the median is one of those. So values are left out that
    are 100 times larger than the quartile and 100 times farther from the best: a loss of 1e17 beside 0.3, but not an
    error of 0.9 beside 0.02.
    """
    finite = np.sort(loss[np.isfinite(loss)])
    if not len(finite):
        return finite
    best, quartile = finite[0], finite[(len(finite) - 1) // 4]
    with np.errstate(over="ignore"):
        far = (finite - best > 100 * (quartile - best)) & (np.abs(finite) > 100 * abs(quartile)) & (quartile > best)
    return finite[~far]


def regret(loss: Values) -> Values:
    """Each loss as 0 for the best, 1 for the typical one, at most 2; infeasible is 2. All 2 where nothing is finite."""
    finite = np.isfinite(loss)
    if not finite.any():
        return np.full(len(loss), WORST)
    best, middle = loss[finite].min(), float(np.median(robust(loss)))
    if middle <= best:  # half of the trials are as good as the best
        worse = loss[finite & (loss > best)]
        middle = float(np.median(worse)) if len(worse) else best + max(1.0, abs(best))
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = loss / (middle - best) - best / (middle - best)
    return np.where(finite, np.clip(scaled, 0.0, WORST), WORST)
