"""Trials that repeat a setting, with another seed say, as one: the best of them would be the luckiest."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from playbook.analysis.regret import comparable
from playbook.analysis.tables import Tables, computed_once

OF_REPEATS = ("_mean", "_count", "_variance", "_trial")
"""The columns beside the hyperparameters, which may have any name."""


def settings(tables: Tables, arm: str) -> pl.DataFrame:
    """A row a setting of an arm, in order of appearance: its hyperparameters, and `OF_REPEATS` of its objective.

    `_mean` is null where a repeat did not train; a crash does not count. `_trial` is the repeat nearest to the mean.
    """
    trials, keys = _trials_and_keys(tables, arm)
    kept = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    value = pl.when(kept).then("objective")
    mean = pl.when(value.is_not_null().all()).then(value.mean())
    return (
        trials.group_by("arm", *keys, maintain_order=True)
        .agg(
            _mean=mean,
            _count=value.count(),
            _variance=value.var(),
            _trial=pl.col("trial").sort_by((value - value.mean()).abs(), nulls_last=True).first(),
        )
        .drop("arm")
    )


def setting_of_trials(tables: Tables, arm: str) -> pl.DataFrame:
    """`trial` and `setting`, a number from 0 on: which setting each trial of an arm repeats; a crash does not count."""
    trials, keys = _trials_and_keys(tables, arm)
    if not tables.repeat:
        return trials.select("trial").with_row_index("setting")
    return trials.group_by("arm", *keys, maintain_order=True).agg("trial").with_row_index("setting").explode("trial")


def noun(tables: Tables) -> str:
    """What is counted where settings are."""
    return "settings" if tables.repeat else "trials"


def _trials_and_keys(tables: Tables, arm: str) -> tuple[pl.DataFrame, list[str]]:
    trials = comparable(tables.of_arm(arm))
    return trials, [key for key in tables.space.get(arm, {}) if key not in tables.repeat and key in trials.columns]


@computed_once
def averaged(tables: Tables) -> Tables:
    """The tables with a row a setting where settings are repeated: settings are ranked by their mean over repeats.

    A setting has the number of its repeat nearest to the mean, and is infeasible where a repeat did not train. The
    tables as they are where nothing is repeated.
    """
    if not tables.repeat or not len(tables.trials):
        return tables
    trained = pl.when(pl.col("_mean").is_not_null()).then(pl.lit("complete")).otherwise(pl.lit("infeasible"))
    rows = [
        settings(tables, arm).with_columns(
            arm=pl.lit(arm), trial="_trial", status=trained, objective="_mean", best_step=pl.lit(None, pl.Int64())
        )
        for arm in tables.arms
    ]
    return replace(tables, trials=pl.concat(rows, how="diagonal_relaxed").drop(OF_REPEATS), repeat=())
