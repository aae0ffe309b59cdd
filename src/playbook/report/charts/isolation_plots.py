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
from playbook.report.charts.objective_axis import ObjectiveAxis, objective_axis
from playbook.report.charts.palette import INK, QUIET, colour_of
from playbook.report.charts.standing import standing
from playbook.study.space import Value
from playbook.text import brief
from playbook.validation import show

WIDTH, HEIGHT = 300, 170
HALF = 0.35
"""Half the width of a choice's mark."""


def isolation_plots(tables: Tables, axes: Sequence[Axis]) -> list[Chart]:
    """A chart for every axis with two values or buckets that trials lie in."""
    failed = pl.col("trial").is_in(list(standing(tables).failed)) & (pl.col("status") != "crashed")
    status = pl.when(failed).then(pl.lit("infeasible")).otherwise("status")  # what fails is the best of nothing (B7)
    tables = replace(tables, trials=tables.trials.with_columns(status=status))
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
        ends = _ends(tables, rows)
        rows = [row | _within(row, ends) for row in rows]
        specification = _isolation_plot(tables, axis, name, ends).to_dict()
        file = f"isolation_{file_name(axis.title)}"
        charts.append(Chart(file, axis.title, "isolation", specification, axis.caption, {name: rows}))
    return charts


def _drawn(axis: Axis, row: dict[str, Any], of_best: Value) -> list[dict[str, Any]]:
    """The row with its place on the axis; none where it has no place there. `at` is that of its best trial."""
    row = row | {"null": _range(row["null_low"], row["null_high"])}
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


def _range(low: float | None, high: float | None) -> str:
    """For a tooltip; an end that is an infeasible trial is no number."""
    if low is None and high is None:
        return "–"
    return f"{'infeasible' if low is None else brief(low)} to {'infeasible' if high is None else brief(high)}"


def _ends(tables: Tables, rows: Sequence[dict[str, Any]]) -> ObjectiveAxis:
    """The bests are the point: of the medians and null bands, what leaves them room."""
    bests = [row["best"] for row in rows if row["best"] is not None]
    room = 2 * (max(bests) - min(bests)) or abs(bests[0])
    others = [row[key] for row in rows for key in ("median", "null_low", "null_high") if row[key] is not None]
    near = [value for value in others if min(bests) - room <= value <= max(bests) + room]
    return objective_axis([*bests, *near], tables.objective.mode)


def _within(row: dict[str, Any], ends: ObjectiveAxis) -> dict[str, Any]:
    """What is drawn within the axis, since a mark far beyond it takes the room of the others although it is cut off.

    The best is at its edge where it lies beyond, the median is drawn if it lies there, and of the null band an end that
    is an infeasible trial is at the worse end.
    """
    best, median, low, high = row["best"], row["median"], row["null_low"], row["null_high"]
    known = low is not None or high is not None
    return {
        "reached": None if best is None else ends.place(best),
        "typical": None if median is None or ends.is_beyond(median) else median,
        "null_from": ends.place(low) if known else None,
        "null_to": ends.place(high) if known else None,
    }


def _isolation_plot(tables: Tables, axis: Axis, name: str, ends: ObjectiveAxis) -> Any:
    scale = alt.Scale(**ends.vega_scale())
    y = alt.Y("reached:Q", title=f"best {objective_title(tables)}", scale=scale, axis=alt.Axis(**ends.vega_axis()))
    x_scale, x_axis = alt.Scale(**axis.vega_scale()), alt.Axis(**axis.vega_axis())
    tooltip = [
        alt.Tooltip("label:N", title=show(axis.key)),
        alt.Tooltip("best:Q", format=".4~g"),
        alt.Tooltip("trial:Q", title="of trial"),
        alt.Tooltip("median:Q", format=".4~g"),
        alt.Tooltip("trials:Q"),
        alt.Tooltip("infeasible:Q"),
        alt.Tooltip("null:N", title="if it did nothing"),
    ]
    low = alt.X("low:Q", title=None, scale=x_scale, axis=x_axis)
    base = alt.Chart(alt.NamedData(name=name)).transform_filter("isValid(datum.best)")
    medians = base.transform_filter("isValid(datum.typical)").mark_rule(color=QUIET, strokeWidth=2, opacity=0.5)
    typical = medians.encode(x=low, x2="high:Q", y=alt.Y("typical:Q", scale=scale), tooltip=tooltip)
    best = base.mark_rule(color=colour_of(0), strokeWidth=4).encode(x=low, x2="high:Q", y=y, tooltip=tooltip)
    point = base.mark_point(color=colour_of(0), filled=True, size=50, opacity=1).encode(
        x=alt.X("at:Q", scale=x_scale, axis=x_axis), y=y, tooltip=tooltip
    )
    band = base.transform_filter("isValid(datum.null_from)").encode(
        y=alt.Y("null_from:Q", scale=scale), y2="null_to:Q", tooltip=tooltip
    )
    wide = band.transform_filter("datum.low < datum.high").mark_rect(color=INK, opacity=0.09)
    narrow = band.transform_filter("datum.low >= datum.high").mark_rule(color=INK, opacity=0.09, strokeWidth=12)
    nulls = (wide.encode(x=low, x2="high:Q"), narrow.encode(x=low))
    return alt.layer(*nulls, typical, best, point).properties(width=WIDTH, height=HEIGHT)
