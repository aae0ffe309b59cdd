"""Curves with as many points as the eye sees: of every stretch the least and the largest value, and both ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import polars as pl

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most `most` of the items, evenly chosen, in their order."""
    return items[:: max(1, math.ceil(len(items) / most))]


def thin(table: pl.DataFrame, by: Sequence[str], value: str, most: int) -> pl.DataFrame:
    """At most about `most` rows of each group of `by`; the rows are in the order in which they are drawn.

    What is not finite is no extreme; it is kept only at an end.
    """
    stretches = max(1, (most - 2) // 2)
    length = pl.len().over(by)
    place = pl.int_range(pl.len()).over(by)
    rows = table.with_columns(_length=length, _place=place, _stretch=place * stretches // length)
    usable = pl.when(pl.col(value).is_finite()).then(pl.col(value))
    within = [*by, "_stretch"]
    is_end = (pl.col("_place") == 0) | (pl.col("_place") == pl.col("_length") - 1)
    is_extreme = (usable == usable.min().over(within)) | (usable == usable.max().over(within))
    kept = rows.filter((pl.col("_length") <= most) | is_end | is_extreme)
    # On a plateau every value is an extreme: of a stretch the first of each value is enough.
    is_first = pl.col("_place") == pl.col("_place").min().over([*within, value])
    kept = kept.filter((pl.col("_length") <= most) | is_end | is_first) if len(kept) else kept
    return kept.drop("_length", "_place", "_stretch")
