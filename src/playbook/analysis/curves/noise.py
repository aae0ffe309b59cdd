"""What of a curve is noise, and whether a stretch of it goes up or down beyond that, and how far.

The test is Mann and Kendall's: of all pairs of points, how many rise and how many fall. It needs no model of the
course or of the noise, and neither a wild value nor an error counted on few examples misleads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import norm

from playbook.analysis.curves.rectangle import Flags, Values, lower_rms, quantum


@dataclass(frozen=True)
class Thresholds:
    """What the estimate of the noise and the test of a trend depend on."""

    fewest_bends: int = 3
    """Second differences below which there is no estimate of the noise."""
    of_quantum: float = 0.3
    """Of the metric's smallest change, that the noise is at least."""
    exact: int = 9
    """Points up to which the test is exact."""
    fewest_for_correlation: int = 16
    """Points from which on the noise may be found to be correlated."""
    correlated: float = 1.645
    """Standard errors from which on it is."""
    most_correlation: float = 0.4
    """Assumed of the noise: a smooth course looks like correlated noise too, and would otherwise never be
    significant."""


def noise(values: Values, where: Flags, limits: Thresholds = Thresholds()) -> Values:
    """(rows,): the standard deviation of one evaluation around its smooth course, within `where`; NaN if unknown.

    `values` (rows, columns). From second differences, which no straight course has, so that a steep curve is not a
    noisy one; a quarter of them may be outliers. It is not below a third of the metric's smallest change, since an
    error that is counted on few examples hides the noise that is smaller.
    """
    inside = np.where(where, values, np.nan)
    bends = np.diff(inside, n=2, axis=1)
    known = np.sum(~np.isnan(bends), axis=1) >= limits.fewest_bends
    least = limits.of_quantum * quantum(inside)
    return np.where(known, np.maximum(lower_rms(np.abs(bends)) / np.sqrt(6), least), np.nan)


_ROWS_AT_ONCE = 256
"""Of pairs of points: what fits into memory."""


def trend(values: Values, where: Flags, limits: Thresholds = Thresholds()) -> Values:
    """(rows,): how many standard deviations the rising pairs outnumber the falling ones by, within `where`.

    About standard normal where there is no trend; 0 where fewer than three points are.
    """
    parts = [
        _kendall(values[begin : begin + _ROWS_AT_ONCE], where[begin : begin + _ROWS_AT_ONCE], limits)
        for begin in range(0, len(values), _ROWS_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0), *parts])


def change(steps: Values, values: Values, where: Flags) -> Values:
    """(rows,): the change along the least-squares line through the points within `where`; NaN below two points."""
    x, y, inside = np.where(where, steps, 0.0), np.where(where, values, 0.0), where.astype(np.float64)
    count = inside.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        x = (x - (x.sum(axis=1) / count)[:, None]) * inside
        y = (y - (y.sum(axis=1) / count)[:, None]) * inside
        slope = (x * y).sum(axis=1) / (x * x).sum(axis=1)
        return np.where(count > 1, slope * (x.max(axis=1, initial=0.0) - x.min(axis=1, initial=0.0)), np.nan)


def _kendall(values: Values, where: Flags, limits: Thresholds) -> Values:
    y = np.where(where, values, np.nan)
    rises = y[:, None, :] > y[:, :, None]  # (rows, earlier, later): the later one is larger
    later = np.triu(np.ones(rises.shape[1:], dtype=bool), 1)
    score = (rises & later).sum(axis=(1, 2)) - (rises & later.T).sum(axis=(1, 2))
    count = where.sum(axis=1).astype(np.float64)
    equals = (y[:, None, :] == y[:, :, None]).sum(axis=2)  # (rows, points): how many have its value
    ties = np.where(where, (equals - 1) * (2 * equals + 5), 0).sum(axis=1)
    variance = (count * (count - 1) * (2 * count + 5) - ties) / 18 * _inflation(y, count, limits)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (score - np.sign(score)) / np.sqrt(variance)
    exact = (ties == 0) & (count <= limits.exact)
    z[exact] = _exact_z(limits.exact)[count[exact].astype(int), np.abs(score[exact])] * np.sign(score[exact])
    return np.where((count >= 3) & (variance > 0), z, 0.0)


@cache
def _exact_z(most: int) -> Values:
    """(count, score): the normal deviate with the chance that `count` shuffled points have at least this score."""
    table = np.zeros((most + 1, most * (most - 1) // 2 + 1))
    ways = np.ones(1)  # of having 0, 1, … falling pairs
    for count in range(2, most + 1):
        ways = np.convolve(ways, np.ones(count))
        pairs = count * (count - 1) // 2
        at_most = np.cumsum(ways) / ways.sum()  # so many falling pairs
        for score in range(pairs % 2, pairs + 1, 2):
            table[count, score] = norm.isf(at_most[(pairs - score) // 2])
    return np.maximum(table, 0.0)


def _inflation(y: Values, count: Values, limits: Thresholds) -> Values:
    """(rows,): (1 + r)/(1 − r) for noise of autocorrelation r, where that is significant.

    For such noise the mean squares of its second and first differences are as 3 − r to 1, on whatever straight course.
    """
    first = np.diff(y, axis=1)
    second = np.diff(first, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = first - (np.nansum(first, axis=1) / (count - 1))[:, None]
        squares = np.nansum(centred**2, axis=1) / (count - 2), np.nansum(second**2, axis=1) / (count - 2)
        r = 3 - squares[1] / squares[0]
        sure = (count >= limits.fewest_for_correlation) & (r > limits.correlated / np.sqrt(count))
        r = np.minimum(r, limits.most_correlation)
        return np.where(sure, (1 + r) / (1 - r), 1.0)
