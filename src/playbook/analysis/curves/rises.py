"""Where a curve was lowest, whether it has risen since, and where it rose most: the questions of two findings.

Two tests, since each sees what the other misses: the trend after the lowest stretch (slow rises, in many points), and
stretches of several lengths against the lowest one before them (sudden ones, and those that have gone again).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from playbook.analysis.curves.noise import noise, trend
from playbook.analysis.curves.rectangle import MOST, Curves, Flags, Values, condensed, lower_rms

RISE = 1.0
"""Noises of one evaluation that the end must lie above the lowest stretch; twice that to be sure."""
SHARE = 0.003
"""Of what was learnt, that a rise must have to matter: a curve that has come to rest has no noise to speak of."""
P_HINT, P_TOGETHER, P_VALUE, P_SURE = 0.1, 0.05, 0.02, 1e-4
HEIGHT_HINT, HEIGHT_TOGETHER, HEIGHT = 3.5, 4.0, 5.0
"""Standard errors by which the last stretch must lie above the lowest before it: for a hint, together with the
trend, and alone. Of white noise it is below 3.5 or so; noise that hangs together, and its estimate from few points,
need the rest."""
HEIGHT_ANYWHERE_HINT, HEIGHT_ANYWHERE = 4.5, 5.5
"""The same where any stretch may be the high one."""
FEWEST_AFTER = 5
"""Points after the lowest stretch below which there is no trend."""
_WIDTHS = (2, 4, 8)
"""Points of the stretches; one point alone is never a rise."""
_AROUND = 7
"""Points to either side whose jumps make the noise at a point: it is larger early in training."""


@dataclass(frozen=True)
class Rises:
    """Per row of the curves (lower is better); a step is the middle of its stretch.

    From `low_step` on, where the mean is `low`, to the end, where it is `last`: `trend_p` is the chance of such a trend
    without a rise, `end_height` the height of the end in standard errors. `top_height` is that of the highest
    rise anywhere, from `top_from` to `top_step`, `top_rise` high. `noise` is the spread of one evaluation.
    """

    low_step: Values
    low: Values
    last: Values
    noise: Values
    trend_p: Values
    end_height: Values
    top_height: Values
    top_from: Values
    top_step: Values
    top_rise: Values
    least: Values
    """What a rise must be to matter, in the curves' values."""

    @property
    def in_noise(self) -> Values:
        """(rows,): how far the end is above the lowest stretch, in noises of one evaluation; 0 where unknown."""
        return _ratio(self.last - self.low, self.noise)

    @property
    def at_the_end(self) -> Flags:
        """(rows,): whether the end is above the lowest stretch beyond noise: one in a hundred of clean curves."""
        together = (self.trend_p < P_TOGETHER) & (self.end_height > HEIGHT_TOGETHER)
        return self._matters & ((self.trend_p < P_VALUE) | (self.end_height > HEIGHT) | together)

    @property
    def hint(self) -> Flags:
        """(rows,): a weak form of it: of clean curves nearly one in ten."""
        return self._matters & ((self.trend_p < P_HINT) | (self.end_height > HEIGHT_HINT))

    @property
    def surely(self) -> Flags:
        """(rows,): the same, without doubt."""
        return self._matters & (self.in_noise >= 2 * RISE) & (self.trend_p < P_SURE)

    @property
    def anywhere(self) -> Flags:
        """(rows,): whether the curve rises anywhere, even if it comes back."""
        return self.at_the_end | (self.top_height > HEIGHT_ANYWHERE) & (self.top_rise > self.least)

    @property
    def hint_anywhere(self) -> Flags:
        """(rows,): a weak form of it."""
        return self.hint | (self.top_height > HEIGHT_ANYWHERE_HINT) & (self.top_rise > self.least)

    @property
    def _matters(self) -> Flags:
        return (self.in_noise >= RISE) & (self.last - self.low > self.least)

    @property
    def top_in_noise(self) -> Values:
        """(rows,): the same of the highest rise anywhere."""
        return _ratio(self.top_rise, self.noise)


def rises(curves: Curves, num_points: int = MOST) -> Rises:
    """What rises in each curve, seen in at most `num_points` means of neighbours."""
    points = condensed(curves, num_points)
    rows = np.arange(len(points))
    reach = np.maximum(1, points.lengths // 20)
    means = _centred_means(points, reach)
    low = np.argmin(np.where(np.isnan(means), np.inf, means), axis=1) if len(points) else rows
    # The lowest stretch is not part of the trend: it is low because it was chosen to be.
    after = (points.columns > (low + reach)[:, None]) & (points.columns < points.lengths[:, None])
    trend_p = np.where(after.sum(axis=1) >= FEWEST_AFTER, norm.sf(trend(points.values, after)), 1.0)
    end, top, begin, peak, height = _heights(points)
    return Rises(
        low_step=points.steps[rows, low],
        low=means[rows, low],
        last=means[rows, points.lengths - 1 - reach],
        noise=noise(curves.values, curves.after(0.25)),
        trend_p=trend_p,
        end_height=end,
        top_height=top,
        top_from=points.steps[rows, begin],
        top_step=points.steps[rows, peak],
        top_rise=height,
        least=SHARE * curves.plunge,
    )


def _centred_means(points: Curves, reach: NDArray[np.int64]) -> Values:
    """(rows, columns): the mean of a point and `reach` (rows,) others on each side; NaN where some are missing."""
    means = np.full(points.values.shape, np.nan)
    for each in np.unique(reach):
        width, rows = 2 * int(each) + 1, reach == each
        if points.values.shape[1] >= width:
            windows = np.lib.stride_tricks.sliding_window_view(points.values[rows], width, axis=1)
            means[rows, each : points.values.shape[1] - each] = windows.mean(axis=2)
    return means


def _heights(points: Curves) -> tuple[Values, Values, NDArray[np.int64], NDArray[np.int64], Values]:
    """Of the last stretch, of the highest one, and where that rise begins and ends, and how high it is in values."""
    rows = np.arange(len(points))
    end, top, rise = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(points))
    begin, peak = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    here = _local_noise(points.values) if len(points) else points.values
    for width in _WIDTHS:
        if points.values.shape[1] < 2 * width:
            break
        means = np.lib.stride_tricks.sliding_window_view(points.values, width, axis=1).mean(axis=2)
        spread = np.lib.stride_tricks.sliding_window_view(here, width, axis=1).max(axis=2)
        before = np.where(np.isnan(means), np.inf, means)[:, :-width]
        lowest = np.minimum.accumulate(before, axis=1)
        where = np.maximum.accumulate(np.where(before == lowest, np.arange(before.shape[1])[None, :], 0), axis=1)
        spread = np.maximum(np.take_along_axis(spread, where, axis=1), spread[:, width:])
        rises_by = means[:, width:] - lowest  # column j: the stretch from j + width on
        height = _ratio(rises_by, spread * np.sqrt(2 / width))
        highest = np.argmax(height, axis=1)
        better = height[rows, highest] > top
        top = np.where(better, height[rows, highest], top)
        rise = np.where(better, rises_by[rows, highest], rise)
        begin = np.where(better, where[rows, highest] + width // 2, begin)
        peak = np.where(better, highest + width + width // 2, peak)
        last = height[rows, np.maximum(points.lengths - 2 * width, 0)]
        end = np.where(points.lengths >= 2 * width, np.maximum(end, last), end)
    return end, top, begin, peak, rise


def _local_noise(values: Values) -> Values:
    """(rows, columns): the noise around each point. Half of the jumps may belong to the edges of what is looked for."""
    rows, columns = values.shape
    jumps = np.full((rows, columns + 2 * _AROUND), np.nan)
    if columns >= 3:
        jumps[:, _AROUND + 1 : _AROUND + columns - 1] = np.abs(np.diff(values, n=2, axis=1))
    windows = np.lib.stride_tricks.sliding_window_view(jumps, 2 * _AROUND + 1, axis=1)
    return lower_rms(windows.reshape(-1, 2 * _AROUND + 1), share=0.5).reshape(rows, columns) / np.sqrt(6)


def _ratio(size: Values, of: Values) -> Values:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = size / of
    return np.where(np.isnan(ratio), 0.0, ratio)
