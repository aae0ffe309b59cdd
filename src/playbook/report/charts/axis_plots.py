"""Axis plots: the objective of every trial against one hyperparameter (B5, B7, F1, F7a).

The best are stars, those that cannot be told from them hollow stars, infeasible trials red crosses, what lies beyond
the axis an arrow at its edge. Thin rules are one standard error either way: of a trial, over its validation examples;
of the mean of a setting that is repeated, over its repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from playbook.analysis.tables import Tables
from playbook.report.charts.arms import arm_colour
from playbook.report.charts.axes import Axis
from playbook.report.charts.chart import Chart, Rows, file_name
from playbook.report.charts.objective_axis import ObjectiveAxis
from playbook.report.charts.palette import BEST, CROSS, INFEASIBLE, INK, STAR, colour_of

WIDTH, HEIGHT = 300, 200
TRIALS = alt.NamedData(name="trials")
SETTINGS = "settings"
"""The data set of the settings that are repeated."""
PICKED = "!picked || picked[datum.trial]"
"""Every chart of trials has a parameter `picked`: false, or an object with the numbers of those brushed as its keys;
and `chosen`, the number of the one that was clicked, or −1."""


def axis_plots(
    tables: Tables, axes: Sequence[Axis], objective: ObjectiveAxis, settings: Rows, with_intervals: bool
) -> list[Chart]:
    """A chart for every axis. `settings` are `setting_rows`; `with_intervals` says whether `trial_rows` have some."""
    return [
        Chart(
            f"axis_{file_name(axis.title)}",
            axis.title,
            "axes",
            _axis_plot(tables, axis, objective, _has_means(tables, axis, settings), with_intervals).to_dict(),
            axis.caption,
            data={SETTINGS: settings} if _has_means(tables, axis, settings) else {},
            trials_at=(axis.field, "y"),
        )
        for axis in axes
    ]


def _has_means(tables: Tables, axis: Axis, settings: Rows) -> bool:
    """Whether the settings have a place on the axis: a seed that is repeated over is no part of one."""
    return bool(settings) and axis.key not in tables.repeat


def objective_title(tables: Tables) -> str:
    """`val/error`, with what it is judged by where that is not the best value."""
    return tables.objective.metric + (" (final)" if tables.judged_by == "final" else "")


def _axis_plot(tables: Tables, axis: Axis, objective: ObjectiveAxis, repeats: bool, with_intervals: bool) -> Any:
    x = alt.X(f"{axis.field}:Q", title=None, scale=alt.Scale(**axis.vega_scale()), axis=alt.Axis(**axis.vega_axis()))
    scale = alt.Scale(**objective.vega_scale(), padding=6)
    y = alt.Y("y:Q", title=objective_title(tables), scale=scale, axis=alt.Axis(**objective.vega_axis()))
    picked = alt.param(name="picked", value=False)
    chosen = alt.param(name="chosen", value=-1)
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    several = len(tables.arms) > 1
    colour = arm_colour(tables, orient="top", columns=2) if several else alt.value(colour_of(0))
    crowded = len(tables.trials) > 300
    many = len(tables.trials) > 3000
    on_axis = f"isValid(datum.{axis.field})"

    base = alt.Chart(TRIALS).encode(x=x, y=y, tooltip="tip:N").transform_filter(on_axis)
    # The best of some repeats is the luckiest: where settings are repeated, the star is at the mean.
    starred = base
    if repeats:
        starred = alt.Chart(alt.NamedData(name=SETTINGS)).encode(x=x, y=y, tooltip="tip:N").transform_filter(on_axis)
    is_point = "indexof(['infeasible', 'crashed'], datum.kind) < 0" if repeats else "datum.kind == 'trial'"
    points = (
        base.transform_filter(is_point)
        .mark_point(filled=True, size=9 if many else 20 if crowded else 28 if repeats else 55, strokeWidth=0)
        .encode(
            color=colour,
            opacity=alt.condition(PICKED, alt.value(0.45 if many or repeats else 0.75), alt.value(0.08)),
            shape=alt.condition("datum.beyond", alt.value("triangle-up"), alt.value("circle")),
        )
        .add_params(picked, chosen, brush)
    )
    crosses = (
        base.transform_filter("datum.kind == 'infeasible'")
        .mark_point(shape=CROSS, size=14 if many else 40, strokeWidth=1.6, color=INFEASIBLE)
        .encode(opacity=alt.condition(PICKED, alt.value(0.9), alt.value(0.1)))
    )
    members = (
        starred.transform_filter("datum.kind == 'member'")
        .mark_point(shape=STAR, size=40 if many else 90, filled=False, strokeWidth=1.4)
        .encode(
            color=colour if several else alt.value(BEST), opacity=alt.condition(PICKED, alt.value(1), alt.value(0.15))
        )
    )
    stars = (
        starred.transform_filter("datum.kind == 'best'")
        .mark_point(shape=STAR, size=130, filled=True, fill=BEST, stroke=INK, strokeWidth=0.6)
        .encode(opacity=alt.condition(PICKED, alt.value(1), alt.value(0.15)))
    )
    ring = base.transform_filter("datum.trial === chosen").mark_point(size=220, color=INK, strokeWidth=1.8)
    layers = [points, crosses, members, stars, ring]
    if repeats or with_intervals:
        rule = starred.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.6 if repeats else 1)
        visible = alt.condition(PICKED, alt.value(0.9 if repeats else 0.45), alt.value(0.05))
        layers.insert(1, rule.encode(y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour, opacity=visible))
    if repeats:
        mean = starred.transform_filter("datum.kind == 'trial' && isValid(datum.low)").mark_point(
            shape="stroke", size=110, strokeWidth=2.4
        )
        layers.insert(2, mean.encode(color=colour, opacity=alt.condition(PICKED, alt.value(1), alt.value(0.1))))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
