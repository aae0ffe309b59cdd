"""What each value of one hyperparameter can reach: the best over all others (B9, F2).

The others are nuisance for this question, so a value is judged by the best that they make of it, not by its mean. A
continuous hyperparameter is cut into buckets, even on its scale, and each bucket is judged by its best trial: that
needs no further runs where the trials are quasi-random.

The best of a bucket is the luck of its draw too. `null_low` and `null_high` say where it would lie if the
hyperparameter did nothing: which of the n trials lie in the bucket would then be chance, and the best of k of n values
drawn without replacement has a distribution that follows from their ranks alone, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.regret import Values, comparable, losses
from playbook.analysis.repeats import averaged
from playbook.analysis.rules.best_of_n import quantile
from playbook.analysis.rules.infeasible import infeasible_trials
from playbook.analysis.tables import Tables
from playbook.study.ranking import is_seed
from playbook.study.space import Choice, Dimension, Float, Int, is_number
from playbook.text import brief
from playbook.validation import show


@dataclass(frozen=True)
class Thresholds:
    """How a range is cut."""

    in_a_bucket: int = 6
    """Trials that a bucket should hold: the best of fewer says more about luck than about the bucket."""
    fewest_buckets: int = 2
    """However few the trials."""
    most_buckets: int = 12
    """However many the trials."""
    null: float = 0.9
    """The probability that the bests of all buckets lie within their null bands, if the hyperparameter does nothing."""


def isolation(tables: Tables, key: str, arm: str | None = None, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a value, or a bucket of values, of a hyperparameter, in order.

    `label` is the value as one would type it, or the bucket's range; `low` and `high` its ends and `middle` the middle
    on its scale (null where the values are no numbers); `trials` how many lie there, `infeasible` how many of those
    failed; `best`, `trial` the best objective and whose it is (null where none is feasible), and `median`, of the
    feasible ones. Values without a trial have no row; empty where the hyperparameter does not exist.

    `null_low` to `null_high`, the lower number first, is where `best` would lie if the hyperparameter did nothing: in
    `limits.null` of studies for all rows at once. Null in one row alone, and where that end is an infeasible trial.

    Over all arms unless one is named: a scientific hyperparameter's values *are* the arms. Where settings are repeated,
    each counts as one trial with its mean.
    """
    failed = infeasible_trials(tables)
    tables = tables if key in tables.repeat or is_seed(key) else averaged(tables)
    trials = comparable(tables.trials if arm is None else tables.of_arm(arm))
    schema = {
        "label": pl.String(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "middle": pl.Float64(),
        "trials": pl.Int64(),
        "infeasible": pl.Int64(),
        "best": pl.Float64(),
        "trial": pl.Int64(),
        "median": pl.Float64(),
        "null_low": pl.Float64(),
        "null_high": pl.Float64(),
    }
    if key not in trials.columns:
        return pl.DataFrame(schema=schema)
    given = trials[key].to_list()
    with_null = [name for name in tables.arms if _may_be_null(tables.space.get(name, {}).get(key))]
    here = (trials[key].is_not_null() | trials["arm"].is_in(with_null)).to_numpy()
    dimension = _dimension(tables, key, arm)
    numbers = trials["trial"].to_numpy()
    loss = np.where(trials["trial"].is_in(failed).to_numpy(), np.inf, losses(trials, tables.sign))
    groups = _groups([value for value, is_here in zip(given, here, strict=True) if is_here], dimension, limits)
    rows = []
    for label, low, high, middle, members in groups:
        chosen = np.flatnonzero(here)[members]
        of_these = loss[chosen]
        feasible = np.isfinite(of_these)
        best = chosen[int(np.argmin(of_these))]
        null = null_band(loss[here], len(chosen), len(groups), limits)
        rows.append(
            {
                "label": label,
                "low": low,
                "high": high,
                "middle": middle,
                "trials": len(chosen),
                "infeasible": int((~feasible).sum()),
                "best": float(loss[best]) * tables.sign if feasible.any() else None,
                "trial": int(numbers[best]) if feasible.any() else None,
                "median": float(np.median(of_these[feasible])) * tables.sign if feasible.any() else None,
                "null_low": null[0 if tables.sign == 1 else 1] * tables.sign,
                "null_high": null[1 if tables.sign == 1 else 0] * tables.sign,
            }
        )
    finite = [pl.when(pl.col(end).is_finite()).then(end).alias(end) for end in ("null_low", "null_high")]
    return pl.DataFrame(rows, schema=schema).with_columns(finite)


def null_band(
    loss: Values, num_in_bucket: int, num_buckets: int, limits: Thresholds = Thresholds()
) -> tuple[float, float]:
    """Where the lowest of `num_in_bucket` of the losses lies if it is chance which these are: both ends.

    Of `num_buckets` such bands all hold at once with probability `limits.null` (Šidák; the buckets share the trials,
    and where one holds the best the others do not, so it is a little more). Infinite where the end is an infeasible
    trial, NaN where one bucket holds all.
    """
    if num_in_bucket == len(loss):
        return float("nan"), float("nan")
    outside = (1 - limits.null ** (1 / num_buckets)) / 2
    low, high = (
        quantile(loss.tolist(), [num_in_bucket], p, "min", replacement=False)[0] for p in (outside, 1 - outside)
    )
    return float(low), float(high)


def num_buckets(num_trials: int, limits: Thresholds = Thresholds()) -> int:
    """How many buckets so many trials fill."""
    return min(max(num_trials // limits.in_a_bucket, limits.fewest_buckets), limits.most_buckets)


Group = tuple[str, float | None, float | None, float | None, list[int]]


def _dimension(tables: Tables, key: str, arm: str | None) -> Dimension | None:
    """The dimension of a hyperparameter; over all arms, the range of all of their ranges."""
    of_arms = [tables.space.get(name, {}).get(key) for name in ([arm] if arm is not None else tables.arms)]
    found = [each for each in of_arms if each is not None]
    if not found:
        return None
    first = found[0]
    if isinstance(first, Choice) or any(type(each) is not type(first) for each in found):
        return first
    low: Any = min(each.low for each in found)
    high: Any = max(each.high for each in found)
    return replace(first, low=low, high=high)


def _may_be_null(dimension: Dimension | None) -> bool:
    """Whether null is a choice, and not the sign of a hyperparameter that does not exist."""
    return isinstance(dimension, Choice) and any(value is None for value in dimension.values)


def _groups(values: list[Any], dimension: Dimension | None, limits: Thresholds) -> list[Group]:
    if isinstance(dimension, (Float, Int)) and all(is_number(value) for value in values) and values:
        count = num_buckets(len(values), limits)
        if dimension.size is None or dimension.size > count:
            return _buckets(values, dimension, count)
    distinct: dict[str, list[int]] = {}
    for index, value in enumerate(values):
        distinct.setdefault(show(value), []).append(index)
    groups: list[Group] = []
    for label, members in distinct.items():
        value = values[members[0]]
        number = float(value) if is_number(value) else None
        groups.append((label, number, number, number, members))
    numbers = all(middle is not None for _, _, _, middle, _ in groups)
    return sorted(groups, key=lambda each: each[3] or 0.0) if numbers else groups


def _buckets(values: list[Any], dimension: Float | Int, count: int) -> list[Group]:
    edges = dimension.edges(count)
    where = np.clip(np.searchsorted(edges, np.array(values, dtype=float), side="right") - 1, 0, count - 1)
    groups: list[Group] = []
    for place in range(count):
        members = np.flatnonzero(where == place).tolist()
        if members:
            low, high = edges[place], edges[place + 1]
            middle = dimension.from_scale((dimension.to_scale(low) + dimension.to_scale(high)) / 2)
            groups.append((f"{brief(low, digits=2)} to {brief(high, digits=2)}", low, high, middle, members))
    return groups
