"""What each value of one hyperparameter can reach: the best over all others (B9, F2).

The others are nuisance for this question, so a value is judged by the best that they make of it, not by its mean. A
continuous hyperparameter is cut into buckets, even on its scale, and each bucket is judged by its best trial: that
needs no further runs where the trials are quasi-random.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.position import is_number
from playbook.analysis.regret import comparable, losses
from playbook.analysis.repeats import averaged
from playbook.analysis.tables import Tables
from playbook.study.space import Choice, Dimension, Float, Int, size
from playbook.validation import show

IN_A_BUCKET = 6
"""Trials that a bucket should hold: the best of fewer says more about luck than about the bucket."""
MOST_BUCKETS = 12


def isolation(tables: Tables, key: str, arm: str | None = None) -> pl.DataFrame:
    """A row a value, or a bucket of values, of a hyperparameter, in order.

    `label` is the value as one would type it, or the bucket's range; `low` and `high` its ends and `middle` the middle
    on its scale (null where the values are no numbers); `trials` how many lie there, `infeasible` how many of those
    failed; `best`, `trial` the best objective and whose it is (null where none is feasible), and `median`, of the
    feasible ones. Values without a trial have no row; empty where the hyperparameter does not exist.

    Over all arms unless one is named: a scientific hyperparameter's values *are* the arms. Where settings are repeated,
    each counts as one trial with its mean.
    """
    tables = tables if key in tables.repeat else averaged(tables)
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
    }
    if key not in trials.columns:
        return pl.DataFrame(schema=schema)
    given = trials[key].to_list()
    with_null = [name for name in tables.arms if _may_be_null(tables.space.get(name, {}).get(key))]
    here = (trials[key].is_not_null() | trials["arm"].is_in(with_null)).to_numpy()
    dimension = _dimension(tables, key, arm)
    loss, numbers = losses(trials, tables.sign), trials["trial"].to_numpy()
    groups = _groups([value for value, is_here in zip(given, here, strict=True) if is_here], dimension)
    rows = []
    for label, low, high, middle, members in groups:
        chosen = np.flatnonzero(here)[members]
        of_these = loss[chosen]
        feasible = np.isfinite(of_these)
        best = chosen[int(np.argmin(of_these))]
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
            }
        )
    return pl.DataFrame(rows, schema=schema)


def num_buckets(num_trials: int) -> int:
    """How many buckets so many trials fill: six trials each, 2 to 12 buckets."""
    return min(max(num_trials // IN_A_BUCKET, 2), MOST_BUCKETS)


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
    ranges = [each for each in found if isinstance(each, (Float, Int))]
    ends: Any = (min(each.low for each in ranges), max(each.high for each in ranges), first.scale)
    return type(first)(*ends)


def _may_be_null(dimension: Dimension | None) -> bool:
    """Whether null is a choice, and not the sign of a hyperparameter that does not exist."""
    return isinstance(dimension, Choice) and any(value is None for value in dimension.values)


def _groups(values: list[Any], dimension: Dimension | None) -> list[Group]:
    if isinstance(dimension, (Float, Int)) and all(is_number(value) for value in values) and values:
        count = num_buckets(len(values))
        if size(dimension) is None or (size(dimension) or 0) > count:
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
    scale = dimension if isinstance(dimension, Float) else _of_whole(dimension)
    edges = [
        scale.from_scale(each) for each in np.linspace(scale.to_scale(scale.low), scale.to_scale(scale.high), count + 1)
    ]
    edges[0], edges[-1] = scale.low, scale.high
    where = np.clip(np.searchsorted(edges, np.array(values, dtype=float), side="right") - 1, 0, count - 1)
    groups: list[Group] = []
    for place in range(count):
        members = np.flatnonzero(where == place).tolist()
        if members:
            low, high = edges[place], edges[place + 1]
            middle = scale.from_scale((scale.to_scale(low) + scale.to_scale(high)) / 2)
            groups.append((f"{_brief(low)} to {_brief(high)}", low, high, middle, members))
    return groups


def _of_whole(dimension: Int) -> Float:
    """The range that whole numbers own: half a step beyond both ends."""
    return Float(dimension.low - 0.5, dimension.high + 0.5, dimension.scale)


def _brief(value: float) -> str:
    """A bucket's end with as many digits as one reads, those of 1 − x where x is close to 1."""
    if 0.9 < value < 1:
        return f"{value:.{1 - math.floor(math.log10(1 - value))}f}"
    return f"{value:.2g}"
