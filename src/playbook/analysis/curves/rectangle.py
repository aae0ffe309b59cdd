"""The curves of one metric as a rectangle, a row a trial, so that a thousand trials are judged in one go.

Evaluations that are not finite are left out, and a single outlier between ordinary neighbours is brought near
them: a batch that blew up once is not a trend, and one value of 1e17 would be all that a mean sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import norm

from playbook.analysis import metrics
from playbook.analysis.tables import Tables

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Thresholds:
    """Which curves are looked at, at how many points, and which of their values are outliers."""

    fewest: int = 5
    """Evaluations below which a curve says nothing beyond its noise."""
    points: int = 64
    """That a trend is looked for in: enough for its shape, and averaging makes their noise independent."""
    best: int = 5
    """Trials of an arm that are looked at one by one: the training curves of at least the best (B8)."""
    outlier: float = 10.0
    """Typical distances from the median of five beyond which a value is an outlier."""
    few: float = 0.05
    """The share of a curve's values that may be outliers."""
    infinite: float = 1e100
    """Values beyond it are as good as infinite, and their squares would be."""
    fewest_for_bends: int = 8
    """Evaluations below which the bends of a curve do not show its noise."""
    transient: int = 2
    """First evaluations that are as they are: a curve may begin with a transient."""


@dataclass(frozen=True)
class Curves:
    """A metric of some trials. In `values` lower is better; past the end of a row are NaN.

    `trials` (rows,) are their numbers, `steps` and `values` (rows, longest), `lengths` (rows,) the evaluations of
    each, `broken` (rows,) whether the last of them was not finite.
    """

    trials: NDArray[np.int64]
    steps: Values
    values: Values
    lengths: NDArray[np.int64]
    broken: Flags

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def columns(self) -> NDArray[np.int64]:
        """(1, longest): the place of each column."""
        return np.arange(self.values.shape[1])[None, :]

    @property
    def last_steps(self) -> Values:
        """(rows,): the step of each row's last evaluation."""
        return self.steps[np.arange(len(self)), self.lengths - 1]

    def after(self, share: float, fewest: int = Thresholds.fewest) -> Flags:
        """(rows, longest): the evaluations past a share of the row's steps, or the last `fewest` if that is more."""
        late = self.steps > (share * self.last_steps)[:, None]
        last_ones = self.columns >= (self.lengths - fewest)[:, None]
        return (late | last_ones) & (self.columns < self.lengths[:, None])

    def late(self, share: float) -> Flags:
        """(rows, longest): as `after`, and none of a row in which those begin before the middle of the run.

        The last five of five evaluations are all of the course: they fall, and say nothing about the end.
        """
        late = self.after(share)
        begins = np.where(late, self.steps, np.inf).min(axis=1, initial=np.inf)
        return late & (begins >= 0.5 * self.last_steps)[:, None]

    def up_to(self, share: float) -> Flags:
        """(rows, longest): the evaluations up to a share of the row's steps, without the first."""
        return (self.steps <= (share * self.last_steps)[:, None]) & (self.columns > 0)

    @property
    def plunge(self) -> Values:
        """(rows,): how far the lowest value is below the second one: what was learnt. The first may be anything."""
        lowest = np.where(self.columns < self.lengths[:, None], self.values, np.inf).min(axis=1, initial=np.inf)
        return np.asarray(self.values[:, min(1, self.values.shape[1] - 1)] - lowest) if len(self) else lowest

    def only(self, rows: Flags) -> Curves:
        """Some of the rows."""
        return Curves(self.trials[rows], self.steps[rows], self.values[rows], self.lengths[rows], self.broken[rows])


def of_metric(tables: Tables, metric: str, limits: Thresholds = Thresholds(), *, best: int | None = None) -> Curves:
    """The curves of a metric of the trials with an objective (of the `best` of each arm) and enough evaluations."""
    trials = tables.ranked() if best is None else pl.concat([tables.ranked(arm).head(best) for arm in tables.arms])
    rows = tables.curves.filter(pl.col("metric") == metric).select("trial", "step", "value")
    rows = rows.filter(pl.col("trial").is_in(trials["trial"].to_list())).with_columns(pl.col("value").fill_null(np.nan))
    columns = (rows[column].to_numpy() for column in rows.columns)
    return from_rows(*columns, sign=metrics.sign(tables, metric), limits=limits)


def from_rows(
    trial: NDArray[np.int64],
    step: NDArray[np.int64],
    value: Values,
    *,
    sign: int = 1,
    limits: Thresholds = Thresholds(),
) -> Curves:
    """Curves from the columns of a table, in any order; of a step that is there twice, the last row counts."""
    order = np.lexsort((step, trial))  # stable
    trial, step, value = trial[order], step[order], value[order]
    last = np.ones(len(trial), dtype=bool)
    last[:-1] = (np.diff(trial) != 0) | (np.diff(step) != 0)
    ends = last.copy()
    ends[:-1] = np.diff(trial) != 0
    finite = np.abs(value) < limits.infinite
    broken = trial[ends & ~finite]
    kept = last & finite
    trial, step, value = trial[kept], step[kept].astype(np.float64), value[kept] * float(sign)
    trials, first, lengths = np.unique(trial, return_index=True, return_counts=True)
    row = np.repeat(np.arange(len(trials)), lengths)
    column = np.arange(len(trial)) - first[row]
    shape = (len(trials), int(lengths.max(initial=0)))
    steps, values = np.full(shape, np.nan), np.full(shape, np.nan)
    steps[row, column], values[row, column] = step, value
    curves = Curves(trials, steps, values, lengths, np.isin(trials, broken)).only(lengths >= max(limits.fewest, 1))
    return replace(curves, values=_without_outliers(curves, limits))


def condensed(curves: Curves, most: int = Thresholds.points) -> Curves:
    """The curves with at most so many points, each the mean of as many neighbours."""
    if not len(curves) or curves.values.shape[1] <= most:
        return curves
    count = np.minimum(curves.lengths, most)[:, None]
    inside = curves.columns < curves.lengths[:, None]
    place = curves.columns * count // curves.lengths[:, None]
    flat = (np.arange(len(curves))[:, None] * most + place)[inside]
    size = len(curves) * most
    members = np.bincount(flat, minlength=size)
    with np.errstate(invalid="ignore"):
        steps = np.bincount(flat, curves.steps[inside], size) / members
        values = np.bincount(flat, curves.values[inside], size) / members
    shape = (len(curves), most)
    return replace(curves, steps=steps.reshape(shape), values=values.reshape(shape), lengths=count[:, 0])


def best_first(tables: Tables, numbers: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each arm that has any, with the rows of `numbers` (a row a trial) of its trials, best trial first."""
    ranked = tables.ranked().select("arm", "trial").with_row_index("rank")
    order = ranked.join(numbers, on="trial", how="inner").sort("rank").drop("rank")
    for arm in tables.arms:
        rows = order.filter(pl.col("arm") == arm).drop("arm")
        if len(rows):
            yield arm, rows


def leading(rows: pl.DataFrame, verdict: str, best: int = Thresholds.best) -> pl.DataFrame | None:
    """Those of an arm's `best` trials with the verdict, if the best has it; else those with a `hint` of it, if most of
    at least three have one; else None.

    `rows` are best first; a verdict is beyond the noise of a curve, a hint one that noise gives every tenth curve, and
    three of five curves once in a hundred times.
    """
    few = rows.head(best)
    if few[verdict][0]:
        return few.filter(verdict)
    hinted = few.filter(pl.col("hint") | pl.col(verdict))
    return hinted if len(few) >= 3 and 2 * len(hinted) > len(few) else None


def times_noise(ratio: float) -> str:
    """`4.2 times its noise`, for a message."""
    return f"{ratio:.1f} times its noise" if ratio < 1e4 else "far beyond its noise"


def _without_outliers(curves: Curves, limits: Thresholds) -> Values:
    """The values, where a few that are far from the median of the five around them are replaced by it.

    Where they are not few, they belong to the curve, and are only brought as near as the limit.
    """
    if not len(curves) or curves.values.shape[1] < limits.fewest:
        return curves.values
    last = curves.lengths[:, None] - 1
    place = np.arange(-2, curves.values.shape[1] + 2)[None, :]
    place = np.abs(np.where(place > last, 2 * last - place, place))  # mirrored at both ends
    around = np.lib.stride_tricks.sliding_window_view(np.take_along_axis(curves.values, place, axis=1), 5, axis=1)
    middle = np.median(around, axis=2)
    judged = (curves.columns >= limits.transient) & (curves.columns <= last)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = np.where(judged, curves.values - middle, np.nan)
        # On a steep stretch most values are the median of their five; their bends still show the noise. One outlier
        # has three bends.
        bends = lower_rms(np.abs(np.diff(curves.values, n=2, axis=1)), share=0.5) / np.sqrt(6)
        bends = np.where(curves.lengths >= limits.fewest_for_bends, bends, 0.0)
        typical = np.maximum(np.maximum(lower_rms(np.abs(distance)), bends), quantum(curves.values))
        limit = limits.outlier * typical[:, None]
        near = np.clip(distance, -limit, limit)
    wild = judged & (near != distance)
    few = wild.sum(axis=1) <= np.maximum(1, limits.few * curves.lengths)
    tame = middle + np.where(few[:, None], 0.0, near)
    return np.where(wild, tame, curves.values)


def lower_rms(sizes: Values, share: float = 0.75) -> Values:
    """(rows,): the root mean square of the smallest `share` of a row's sizes, as the standard deviation of a normal.

    NaN are left out; a row without any is NaN. The rest may be anything.
    """
    if not sizes.shape[1]:
        return np.full(len(sizes), np.nan)
    ordered = np.sort(sizes, axis=1)
    count = np.sum(~np.isnan(ordered), axis=1)
    kept = np.ceil(share * count)
    inside = np.arange(sizes.shape[1])[None, :] < kept[:, None]
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        mean_square = np.sum(np.where(inside, ordered, 0.0) ** 2, axis=1) / kept
        return np.sqrt(mean_square / _lower_variance(share))


@cache
def _lower_variance(share: float) -> float:
    """E[x² | |x| < c] of a standard normal, where c is exceeded with chance 1 − share."""
    c = norm.isf((1 - share) / 2)
    return float(1 - 2 * c * norm.pdf(c) / share)


def quantum(values: Values) -> Values:
    """(rows,): the smallest change between neighbours of a row that is one; 0 where nothing ever changes."""
    with np.errstate(invalid="ignore", over="ignore"):
        change = np.abs(np.diff(values, axis=1))
    change[~(change > 0)] = np.inf
    smallest = change.min(axis=1, initial=np.inf)
    return np.where(np.isfinite(smallest), smallest, 0.0)
