"""Isolation plots: what each value of a hyperparameter can reach, the best over all others (B9, F2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import polars as pl

from playbook.analysis.isolation import isolation
from playbook.analysis.tables import Tables
from playbook.report.charts.axes import Axis, place_of
from playbook.report.charts.axis_plots import objective_title
from playbook.report.charts.chart import Chart, file_name
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.palette import INK, QUIET, colour_of
from playbook.study.space import Value
from playbook.validation import show

WIDTH, HEIGHT = 300, 170
HALF = 0.35
"""Half the width of a choice's mark."""


def isolation_plots(tables: Tables, axes: Sequence[Axis]) -> list[Chart]:
    """A chart for every axis with two values or buckets that trials lie in."""
    charts: list[Chart] = []
    for axis in axes:
        if axis.key in tables.repeat:
            continue
        of_arms = replace(tables, trials=tables.trials.filter(pl.col("arm").is_in(axis.arms)))
        settings = dict(of_arms.trials.select("trial", axis.key).iter_rows()) if axis.key in of_arms.trials else {}
        found = isolation(of_arms, axis.key).iter_rows(named=True)
        rows = [row for each in found for row in _drawn(axis, each, settings.get(each["trial"]))]
        if sum(row["best"] is not None for row in rows) < 2:
            continue
        name = f"isolation_{len(charts)}"
        specification = _isolation_plot(tables, axis, name, rows).to_dict()
        file = f"isolation_{file_name(axis.title)}"
        charts.append(Chart(file, axis.title, "isolation", specification, data={name: rows}))
    return charts


def _drawn(axis: Axis, row: dict[str, Any], of_best: Value) -> list[dict[str, Any]]:
    """The row with its place on the axis; none where it has no place there. `at` is that of its best trial."""
    if axis.scale == "choices":
        middle = place_of(axis.choices, row["label"] if row["low"] is None else row["low"])
        if middle is None:
            return []
        return [row | {"low": middle - HALF, "high": middle + HALF, "at": middle}]
    if row["middle"] is None or (axis.scale == "log" and row["low"] <= 0):
        return []
    if axis.scale == "log_one_minus":
        row = row | {"low": 1 - row["high"], "high": 1 - row["low"]}
    return [row | {"at": axis.place(of_best, row["trial"] or 0)}]


def _isolation_plot(tables: Tables, axis: Axis, name: str, rows: Sequence[dict[str, Any]]) -> Any:
    bests = [row["best"] for row in rows if row["best"] is not None]
    medians = [row["median"] for row in rows if row["median"] is not None]
    # The bests are the point: of the medians, those are shown that leave them room.
    room = 2 * (max(bests) - min(bests)) or abs(bests[0])
    near = [value for value in medians if min(bests) - room <= value <= max(bests) + room]
    nulls = [row[end] for row in rows for end in ("null_low", "null_high") if row.get(end) is not None]
    null_near = [value for value in nulls if min(bests) - room <= value <= max(bests) + room]
    ends = objective_axis([*bests, *near, *null_near], tables.objective.mode)
    scale = alt.Scale(**ends.vega_scale())
    y = alt.Y("best:Q", title=f"best {objective_title(tables)}", scale=scale, axis=alt.Axis(**ends.vega_axis()))
    x_scale, x_axis = alt.Scale(**axis.vega_scale()), alt.Axis(**axis.vega_axis())
    tooltip = [
        alt.Tooltip("label:N", title=show(axis.key)),
        alt.Tooltip("best:Q", format=".4~g"),
        alt.Tooltip("trial:Q", title="of trial"),
        alt.Tooltip("median:Q", format=".4~g"),
        alt.Tooltip("trials:Q"),
        alt.Tooltip("infeasible:Q"),
    ]
    low = alt.X("low:Q", title=None, scale=x_scale, axis=x_axis)
    base = alt.Chart(alt.NamedData(name=name)).transform_filter("isValid(datum.best)")
    typical = base.mark_rule(color=QUIET, strokeWidth=2, opacity=0.5, clip=True).encode(
        x=low, x2="high:Q", y=alt.Y("median:Q", scale=scale), tooltip=tooltip
    )
    best = base.mark_rule(color=colour_of(0), strokeWidth=4).encode(x=low, x2="high:Q", y=y, tooltip=tooltip)
    point = base.mark_point(color=colour_of(0), filled=True, size=50, opacity=1).encode(
        x=alt.X("at:Q", scale=x_scale, axis=x_axis), y=y, tooltip=tooltip
    )
    # Where an end is that of an infeasible trial, the band goes on to the worse end of the axis.
    worst, open_end = repr(ends.worst), "null_high" if tables.sign == 1 else "null_low"
    null = (
        base.transform_filter("isValid(datum.null_low) || isValid(datum.null_high)")
        .transform_calculate(
            **{open_end: f"isValid(datum.{open_end}) ? datum.{open_end} : {worst}"},
        )
        .mark_rect(color=INK, opacity=0.09, clip=True)
        .encode(x=low, x2="high:Q", y=alt.Y("null_low:Q", scale=scale), y2="null_high:Q", tooltip=tooltip)
    )
    return alt.layer(*([null] if nulls else []), typical, best, point).properties(width=WIDTH, height=HEIGHT)
