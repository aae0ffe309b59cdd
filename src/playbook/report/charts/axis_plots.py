"""Axis plots: the objective of every trial against one hyperparameter (B5, B7, F1, F7a).

The best few are stars, infeasible trials red crosses at the worse end, what lies beyond the axis an arrow at its edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from playbook.analysis.tables import Tables
from playbook.report.charts.axes import Axis
from playbook.report.charts.chart import Chart, file_name
from playbook.report.charts.objective_axis import ObjectiveAxis
from playbook.report.charts.palette import BEST, CROSS, INFEASIBLE, INK, STAR, colour_of

WIDTH, HEIGHT = 300, 200
TRIALS = alt.NamedData(name="trials")
PICKED = "!picked || picked[datum.trial]"
"""Every chart of trials has a parameter `picked`: false, or an object with the numbers of those brushed as its keys;
and `chosen`, the number of the one that was clicked, or −1."""


def axis_plots(tables: Tables, axes: Sequence[Axis], objective: ObjectiveAxis) -> list[Chart]:
    """A chart for every axis."""
    return [
        Chart(
            f"axis_{file_name(axis.title)}",
            axis.title,
            "axes",
            _axis_plot(tables, axis, objective).to_dict(),
            trials_at=(axis.field, "y"),
        )
        for axis in axes
    ]


def objective_title(tables: Tables) -> str:
    """`val/error`, with what it is judged by where that is not the best value."""
    return tables.objective.metric + (" (final)" if tables.judged_by == "final" else "")


def arm_colour(tables: Tables, **legend: Any) -> alt.Color:
    """The colour of an arm."""
    arms = list(tables.arms)
    scale = alt.Scale(domain=arms, range=[colour_of(place) for place in range(len(arms))])
    return alt.Color("arm:N", title=None, scale=scale, legend=alt.Legend(**legend) if legend else None)


def _axis_plot(tables: Tables, axis: Axis, objective: ObjectiveAxis) -> Any:
    x = alt.X(f"{axis.field}:Q", title=None, scale=alt.Scale(**axis.vega_scale()), axis=alt.Axis(**axis.vega_axis()))
    scale = alt.Scale(**objective.vega_scale(), padding=6)
    y = alt.Y("y:Q", title=objective_title(tables), scale=scale, axis=alt.Axis(**objective.vega_axis()))
    picked = alt.param(name="picked", value=False)
    chosen = alt.param(name="chosen", value=-1)
    brush = alt.selection_interval(name="brush", encodings=["x", "y"])
    colour = arm_colour(tables, orient="top", columns=2) if len(tables.arms) > 1 else alt.value(colour_of(0))
    crowded = len(tables.trials) > 300
    many = len(tables.trials) > 3000

    base = alt.Chart(TRIALS).encode(x=x, y=y, tooltip="tip:N").transform_filter(f"isValid(datum.{axis.field})")
    points = (
        base.transform_filter("datum.kind == 'trial'")
        .mark_point(filled=True, size=9 if many else 20 if crowded else 55, strokeWidth=0)
        .encode(
            color=colour,
            opacity=alt.condition(PICKED, alt.value(0.45 if many else 0.75), alt.value(0.08)),
            shape=alt.condition("datum.beyond", alt.value("triangle-up"), alt.value("circle")),
        )
        .add_params(picked, chosen, brush)
    )
    crosses = (
        base.transform_filter("datum.kind == 'infeasible'")
        .mark_point(shape=CROSS, size=14 if many else 40, strokeWidth=1.6, color=INFEASIBLE)
        .encode(opacity=alt.condition(PICKED, alt.value(0.9), alt.value(0.1)))
    )
    stars = (
        base.transform_filter("datum.kind == 'best'")
        .mark_point(shape=STAR, size=130, filled=True, fill=BEST, stroke=INK, strokeWidth=0.6)
        .encode(opacity=alt.condition(PICKED, alt.value(1), alt.value(0.15)))
    )
    ring = base.transform_filter("datum.trial === chosen").mark_point(size=220, color=INK, strokeWidth=1.8)
    return alt.layer(points, crosses, stars, ring).properties(width=WIDTH, height=HEIGHT)
