"""The objective, changed after the fact: trials judged anew, by another metric or by their last value, from curves.

That is possible because the search did not adapt to the objective (E3).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import polars as pl

from playbook.analysis.tables import Tables
from playbook.errors import InputError
from playbook.study.design import Objective

By = Literal["best", "final"]


def rejudge(tables: Tables, metric: str, mode: Literal["min", "max"], by: By = "best") -> Tables:
    """The tables with `metric` for the objective: its best value over the course of training, or its last one.

    A trial that was infeasible stays so, and one whose value is not finite becomes so. A trial without a curve of the
    metric says nothing and counts as crashed. Chance and the examples are known while the objective's metric is the
    same.

    Raises:
        InputError: no trial has a curve of the metric.
    """
    if metric not in tables.curves["metric"]:
        there = ", ".join(sorted(tables.curves["metric"].unique())) or "none"
        raise InputError(f"objective.metric={metric}: no trial has a curve of it; there are {there}")
    objective = Objective(metric, mode)
    measured = from_curves(tables.curves, objective, by)
    replaced = ("objective", "best_step", "final_objective")
    trials = tables.trials.drop(replaced, strict=False).join(measured, on="trial", how="left", maintain_order="left")
    ran = pl.col("status") == "complete"
    status = (
        pl.when(ran & ~pl.col("trial").is_in(measured["trial"].implode()))
        .then(pl.lit("crashed"))
        .when(ran & pl.col("objective").is_null())
        .then(pl.lit("infeasible"))
        .otherwise("status")
    )
    trials = trials.with_columns(status=status)
    trials = trials.with_columns(
        pl.when(pl.col("status") == "complete").then(column).alias(column) for column in replaced
    ).select(*tables.trials.columns, *(column for column in replaced if column not in tables.trials.columns))
    if objective == tables.objective:
        return replace(tables, trials=trials, judged_by=by)
    trials = trials.drop("objective_se", "n_examples", strict=False)  # they are of the study's own objective
    return replace(tables, trials=trials, objective=objective, chance=None, examples={}, judged_by=by)


def from_curves(curves: pl.DataFrame, objective: Objective, by: By = "best") -> pl.DataFrame:
    """`trial`, `objective`, `best_step` and `final_objective` of each trial with a curve of the objective's metric.

    The best is that of the finite values, at the first step that has it; with `final` it is the last value. What is
    not finite is null.
    """
    value = pl.col("value")
    last = pl.when(value.last().is_finite()).then(value.last())
    finite = value.filter(value.is_finite())
    best: pl.Expr = finite.min() if objective.mode == "min" else finite.max()
    rows = curves.filter(pl.col("metric") == objective.metric).sort("trial", "step", maintain_order=True)
    where = value == best
    if by == "final":
        best, where = last, pl.col("step") == pl.col("step").last()
    step = pl.when(best.is_not_null()).then(pl.col("step").filter(where).first())
    return rows.group_by("trial", maintain_order=True).agg(objective=best, best_step=step, final_objective=last)
