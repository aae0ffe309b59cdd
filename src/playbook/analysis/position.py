"""Where a trial lies in a hyperparameter's range: 0 at the lower end of its scale, 1 at the upper."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np
import polars as pl

from playbook.analysis.regret import Values
from playbook.study.space import Choice, Dimension, Float, Int


def is_ordered(dimension: Dimension) -> bool:
    """Whether the values have an order and there is more than one: a range, or a list of numbers."""
    if isinstance(dimension, Choice):
        return len(dimension.values) > 1 and all(is_number(value) for value in dimension.values)
    return isinstance(dimension, Float) or dimension.high > dimension.low


def positions(column: pl.Series, dimension: Dimension) -> Values:
    """The position of each value of an ordered dimension, clipped to [0, 1]; NaN where there is no value.

    Whole numbers and lists of numbers divide the range evenly, so that a value lies in the middle of its cell: of four
    learning rates on a grid the lowest lies at 1/8, as it would in the middle of the lowest quarter.
    """
    given = column.to_list()
    return np.array([np.nan if not is_number(value) else _position(value, dimension) for value in given])


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _position(value: float, dimension: Dimension) -> float:
    if isinstance(dimension, Float):
        if (dimension.scale == "log" and value <= 0) or (dimension.scale == "log_one_minus" and value >= 1):
            return 0.0 if dimension.scale == "log" else 1.0
        where = dimension.position(value)
    elif isinstance(dimension, Int):
        if dimension.scale == "log":
            low, high = math.log(dimension.low - 0.5), math.log(dimension.high + 0.5)
            where = (math.log(max(value, 0.5)) - low) / (high - low)
        else:
            where = (value - dimension.low + 0.5) / (dimension.high - dimension.low + 1)
    else:
        ordered = sorted(dimension.values)
        where = (float(np.interp(value, ordered, range(len(ordered)))) + 0.5) / len(ordered)
    return min(max(where, 0.0), 1.0)
