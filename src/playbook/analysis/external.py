"""Trials that this template did not run, as tables: a row a trial, and curves and a space where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from playbook.analysis.rejudge import from_curves
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.errors import InputError
from playbook.study.design import ONLY_ARM, Objective
from playbook.study.ranking import is_seed
from playbook.study.space import Choice, Dimension, Float, Int
from playbook.validation import show

NAME = "trial_name"
"""The column that keeps what trials were called where that is not a number."""
RECORD: dict[str, pl.DataType] = {
    "trial": pl.Int64(),
    "arm": pl.String(),
    "status": pl.String(),
    "objective": pl.Float64(),
    "best_step": pl.Int64(),
    "final_objective": pl.Float64(),
    "seed": pl.Int64(),
}
"""The columns that are about the trial; every other one is a hyperparameter."""
NOT_SEARCHED = (*RECORD, "steps", "seconds", "reason", NAME)
STATUSES = ("complete", "infeasible", "crashed")
DECADES = 2
"""A positive range that spans so many is even on a log scale."""
FEW_VALUES = 12


def from_frames(
    trials: pl.DataFrame,
    curves: pl.DataFrame | None,
    space: Mapping[str, Dimension] | None,
    objective: Objective,
) -> Tables:
    """The tables of `trials` (at least `trial` and the hyperparameters; `objective`, or `curves` of its metric).

    Without `objective` in `trials`, it is the best value of each curve; a trial whose curve ends in a number that is
    not finite is infeasible, and so is one whose objective is not. Without a `space` the observed range stands in: on
    a log scale where it is positive and spans two decades, and a list where there are few values. Trials may have any
    names: those that are no whole numbers are numbered in order, and `trial_name` keeps them.

    Raises:
        InputError: a column is missing or cannot be read, or a trial is there twice.
    """
    if "trial" not in trials.columns:
        raise InputError(f"trials: the column trial is missing; there are {', '.join(trials.columns) or 'none'}")
    trials, names = _numbered(trials)
    measured = None if curves is None else _curves(curves, names)
    table = _record(trials, measured, objective)
    keys = [column for column in table.columns if column not in NOT_SEARCHED and not is_seed(column)]
    if space is not None:
        if missing := [key for key in space if key not in table.columns]:
            raise InputError(f"space.{missing[0]}: trials have no such column; there are {', '.join(keys) or 'none'}")
        keys = [key for key in keys if key in space]
    _check_hyperparameters(table, keys, space)
    arms = table["arm"].unique(maintain_order=True).to_list()
    of_arms = {arm: _space(table.filter(pl.col("arm") == arm), keys, space) for arm in arms}
    scientific = tuple(key for key in keys if len(arms) > 1 and _makes_arms(table, key)) if space is None else ()
    empty = pl.DataFrame(schema=CURVE_COLUMNS)
    return Tables(table, objective, empty if measured is None else measured, space=of_arms, scientific=scientific)


def _numbered(trials: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """The trials by number, and the number of each by what it was called."""
    given = trials["trial"]
    if given.null_count():
        raise InputError(f"trials: row {given.is_null().arg_max()} has no trial; each needs a number or a name")
    names = given.cast(pl.String)
    if (twice := names.filter(names.is_duplicated())).len():
        raise InputError(f"trials: trial {twice[0]!r} is there twice; each trial has one row")
    numbers = names.cast(pl.Int64, strict=False)
    if numbers.null_count():
        trials = trials.with_columns(names.alias(NAME))
        numbers = pl.Series(range(len(trials)), dtype=pl.Int64)
    return trials.with_columns(numbers.alias("trial")), dict(zip(names, numbers, strict=True))


def _curves(curves: pl.DataFrame, names: Mapping[str, int]) -> pl.DataFrame:
    if missing := [column for column in CURVE_COLUMNS if column not in curves.columns]:
        raise InputError(f"curves: the column {missing[0]} is missing; needed are {', '.join(CURVE_COLUMNS)}")
    curves = curves.select(pl.col("trial").cast(pl.String), "step", pl.col("metric").cast(pl.String), "value")
    curves = curves.with_columns(
        pl.col("trial").replace_strict(names, default=None, return_dtype=pl.Int64),
        _as_type(curves["step"], pl.Int64(), "curves"),
        _as_type(curves["value"], pl.Float64(), "curves").fill_null(float("nan")),
    ).drop_nulls(["trial", "step", "metric"])
    return curves.unique(["trial", "step", "metric"], keep="last", maintain_order=True).sort(
        "trial", "metric", "step", maintain_order=True
    )


def _record(trials: pl.DataFrame, curves: pl.DataFrame | None, objective: Objective) -> pl.DataFrame:
    """The trials with every column of `RECORD`."""
    table = trials.with_columns(
        _as_type(trials[name], kind, "trials") for name, kind in RECORD.items() if name in trials
    )
    measured = None if curves is None else from_curves(curves, objective)
    given = "objective" in table.columns
    if measured is not None and len(measured):
        found = measured.select(name for name in measured.columns if name == "trial" or name not in table.columns)
        table = table.join(found, on="trial", how="left", maintain_order="left")
    elif not given:
        there = "" if curves is None else f"; there are curves of {', '.join(curves['metric'].unique().sort())}"
        raise InputError(f"trials: there is neither a column objective nor a curve of {objective.metric}{there}")
    well = pl.col("objective" if given else "final_objective").is_finite().fill_null(False)
    ended = pl.when(well).then(pl.lit("complete")).otherwise(pl.lit("infeasible"))
    status = pl.col("status").fill_null(ended) if "status" in table.columns else ended
    table = table.with_columns(status=status)
    if len(unknown := table.filter(~pl.col("status").is_in(STATUSES))):
        raise InputError(f"trials: status {unknown['status'][0]!r}; allowed are {', '.join(STATUSES)}")
    kept = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    table = table.with_columns(objective=pl.when(kept).then("objective"))
    arm = pl.col("arm").fill_null(ONLY_ARM) if "arm" in table.columns else pl.lit(ONLY_ARM).alias("arm")
    table = table.with_columns(arm)
    absent = [pl.lit(None, kind).alias(name) for name, kind in RECORD.items() if name not in table.columns]
    table = table.with_columns(absent)
    return table.select(*RECORD, *(column for column in table.columns if column not in RECORD))


def _as_type(column: pl.Series, kind: pl.DataType, table: str) -> pl.Series:
    """A column read as its type.

    Raises:
        InputError: the first value that cannot be.
    """
    read = column.cast(kind, strict=False)
    wrong = column.filter(read.is_null() & column.is_not_null())
    if len(wrong) or (kind == pl.Int64() and column.dtype.is_float() and (read != column).any()):
        value = wrong[0] if len(wrong) else column.filter(read != column)[0]
        noun = "a whole number" if kind == pl.Int64() else "a number"
        raise InputError(f"{table}: {column.name} {value!r} is not {noun}")
    return read


def _check_hyperparameters(table: pl.DataFrame, keys: list[str], space: Mapping[str, Dimension] | None) -> None:
    for key in keys:
        column = table[key]
        if column.dtype.is_nested():
            raise InputError(f"trials: {key} holds lists; allowed are numbers, texts and truth values")
        if column.dtype.is_float() and (bad := column.filter(~column.is_finite())).len():
            raise InputError(f"trials: {key} is {bad[0]} in one row; a hyperparameter is a finite number, or empty")
        given = None if space is None else space.get(key)
        if isinstance(given, (Float, Int)) and not column.dtype.is_numeric() and column.null_count() < len(column):
            raise InputError(
                f"space.{key}: a range, but trials have {show(column.drop_nulls()[0])!r} there; allowed are numbers"
            )


def _space(trials: pl.DataFrame, keys: list[str], space: Mapping[str, Dimension] | None) -> dict[str, Dimension]:
    """The dimension of each hyperparameter that exists in an arm."""
    found = {}
    for key in keys:
        values = trials[key].drop_nulls()
        if len(values) and (each := _observed(values) if space is None else space[key]) is not None:
            found[key] = each
    return found


def _observed(values: pl.Series) -> Dimension | None:
    """What a hyperparameter's values suggest; None where there is one."""
    distinct: list[Any] = values.unique().sort().to_list()
    if len(distinct) < 2:
        return None
    few = len(distinct) <= FEW_VALUES and 2 * len(distinct) <= len(values)
    if few or len(distinct) == 2 or not values.dtype.is_numeric():
        return Choice(tuple(distinct))
    low, high = distinct[0], distinct[-1]
    log = low > 0 and high >= low * 10**DECADES
    if values.dtype.is_integer():
        return Int(int(low), int(high), "log" if log else "linear")
    return Float(float(low), float(high), "log" if log else "linear")


def _makes_arms(table: pl.DataFrame, key: str) -> bool:
    """Whether a hyperparameter has one value in each arm, and not the same one in all."""
    values = table.group_by("arm").agg(pl.col(key).n_unique().alias("count"))["count"]
    return bool((values == 1).all()) and table[key].n_unique() > 1
