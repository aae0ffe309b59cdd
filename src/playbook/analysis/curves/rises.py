"""Where a curve was lowest, whether it has risen since, and where it rose most: the questions of two findings.

Two tests, since each sees what the other misses: the trend after the lowest stretch (slow rises, in many points), and
stretches of several lengths against the lowest one before them (sudden ones, and those that have gone again).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from playbook.analysis.curves import rectangle
from playbook.analysis.curves.noise import noise, trend
from playbook.analysis.curves.rectangle import Curves, Flags, Values, condensed, lower_rms


@dataclass(frozen=True)
class Thresholds:
    """What a rise is.

    Heights are in standard errors, of the last stretch above the lowest before it. Of white noise that is below 3.5 or
    so; noise that hangs together, and its estimate from few points, need the rest.
    """

    points: int = rectangle.Thresholds.points
    """Means of neighbours in which rises are looked for."""
    rise: float = 1.0
    """Noises of one evaluation that the end must lie above the lowest stretch; twice that to be sure."""
    share: float = 0.003
    """Of what was learnt, that a rise must have to matter: a curve that has come to rest has no noise to speak of."""
    p_hint: float = 0.1
    """Of the trend, for a hint."""
    p_together: float = 0.05
    """Of the trend, together with the height."""
    p_value: float = 0.02
    """Of the trend, alone."""
    p_sure: float = 1e-4
    """Of the trend, to be sure."""
    height_hint: float = 3.5
    """For a hint."""
    height_together: float = 4.0
    """Together with the trend."""
    height: float = 5.0
    """Alone."""
    height_anywhere_hint: float = 4.5
    """For a hint where any stretch may be the high one."""
    height_anywhere: float = 5.5
    """Alone where any stretch may be the high one."""
    fewest_after: int = 5
    """Points after the lowest stretch below which there is no trend."""
    one_in: int = 20
    """Points to either side of one, whose mean with it is the lowest stretch and the end: one in so many."""
    settled: float = 0.25
    """The share of the steps after which the noise is measured."""
    widths: tuple[int, ...] = (2, 4, 8)
    """Points of the stretches that are compared; one point alone is never a rise."""
    around: int = 7
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
    limits: Thresholds

    @property
    def in_noise(self) -> Values:
        """(rows,): how far the end is above the lowest stretch, in noises of one evaluation; 0 where unknown."""
        return _ratio(self.last - self.low, self.noise)

    @property
    def at_the_end(self) -> Flags:
        """(rows,): whether the end is above the lowest stretch beyond noise: one in a hundred of clean curves."""
        together = (self.trend_p < self.limits.p_together) & (self.end_height > self.limits.height_together)
        return self._matters & (
            (self.trend_p < self.limits.p_value) | (self.end_height > self.limits.height) | together
        )

    @property
    def hint(self) -> Flags:
        """(rows,): a weak form of it: of clean curves nearly one in ten."""
        return self._matters & ((self.trend_p < self.limits.p_hint) | (self.end_height > self.limits.height_hint))

    @property
    def surely(self) -> Flags:
        """(rows,): the same, without doubt."""
        return self._matters & (self.in_noise >= 2 * self.limits.rise) & (self.trend_p < self.limits.p_sure)

    @property
    def anywhere(self) -> Flags:
        """(rows,): whether the curve rises anywhere, even if it comes back."""
        return self.at_the_end | (self.top_height > self.limits.height_anywhere) & (self.top_rise > self.least)

    @property
    def hint_anywhere(self) -> Flags:
        """(rows,): a weak form of it."""
        return self.hint | (self.top_height > self.limits.height_anywhere_hint) & (self.top_rise > self.least)

    @property
    def _matters(self) -> Flags:
        return (self.in_noise >= self.limits.rise) & (self.last - self.low > self.least)

    @property
    def top_in_noise(self) -> Values:
        """(rows,): the same of the highest rise anywhere."""
        return _ratio(self.top_rise, self.noise)


def rises(curves: Curves, limits: Thresholds = Thresholds()) -> Rises:
    """What rises in each curve, seen in at most `limits.points` means of neighbours."""
    points = condensed(curves, limits.points)
    rows = np.arange(len(points))
    reach = np.maximum(1, points.lengths // limits.one_in)
    means = _centred_means(points, reach)
    low = np.argmin(np.where(np.isnan(means), np.inf, means), axis=1) if len(points) else rows
    # The lowest stretch is not part of the trend: it is low because it was chosen to be.
    after = (points.columns > (low + reach)[:, None]) & (points.columns < points.lengths[:, None])
    trend_p = np.where(after.sum(axis=1) >= limits.fewest_after, norm.sf(trend(points.values, after)), 1.0)
    end, top, begin, peak, height = _heights(points, limits)
    return Rises(
        low_step=points.steps[rows, low],
        low=means[rows, low],
        last=means[rows, points.lengths - 1 - reach],
        noise=noise(curves.values, curves.after(limits.settled)),
        trend_p=trend_p,
        end_height=end,
        top_height=top,
        top_from=points.steps[rows, begin],
        top_step=points.steps[rows, peak],
        top_rise=height,
        least=limits.share * curves.plunge,
        limits=limits,
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


def _heights(points: Curves, limits: Thresholds) -> tuple[Values, Values, NDArray[np.int64], NDArray[np.int64], Values]:
    """Of the last stretch, of the highest one, and where that rise begins and ends, and how high it is in values."""
    rows = np.arange(len(points))
    end, top, rise = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(points))
    begin, peak = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    here = _local_noise(points.values, limits.around) if len(points) else points.values
    for width in limits.widths:
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


def _local_noise(values: Values, around: int) -> Values:
    """(rows, columns): the noise around each point.

    Half of the jumps may belong to the edges of what is looked for.
    """
    rows, columns = values.shape
    jumps = np.full((rows, columns + 2 * around), np.nan)
    if columns >= 3:
        jumps[:, around + 1 : around + columns - 1] = np.abs(np.diff(values, n=2, axis=1))
    windows = np.lib.stride_tricks.sliding_window_view(jumps, 2 * around + 1, axis=1)
    return lower_rms(windows.reshape(-1, 2 * around + 1), share=0.5).reshape(rows, columns) / np.sqrt(6)


def _ratio(size: Values, of: Values) -> Values:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio = size / of
    return np.where(np.isnan(ratio), 0.0, ratio)
