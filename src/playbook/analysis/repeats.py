"""Trials that repeat a setting, with another seed say, as one: the best of them would be the luckiest."""

from __future__ import annotations

import polars as pl

from playbook.analysis.regret import comparable
from playbook.analysis.tables import Tables

OF_REPEATS = ("_mean", "_count", "_variance")
"""The columns beside the hyperparameters, which may have any name."""


def settings(tables: Tables, arm: str) -> pl.DataFrame:
    """A row a setting of an arm, in order of appearance: its hyperparameters, and `OF_REPEATS` of its objective.

    `_mean` is null where a repeat did not train; a crash does not count.
    """
    trials = comparable(tables.of_arm(arm))
    keys = [key for key in tables.space.get(arm, {}) if key not in tables.repeat and key in trials.columns]
    kept = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    value = pl.when(kept).then("objective")
    mean = pl.when(value.is_not_null().all()).then(value.mean())
    return (
        trials.group_by(pl.lit(0).alias("_all"), *keys, maintain_order=True)  # the literal: there may be no key
        .agg(_mean=mean, _count=value.count(), _variance=value.var())
        .drop("_all")
    )
