"""What each trial had reached at each rung: those that went on are joined, those that rest are hollow (G7)."""

from __future__ import annotations

import altair as alt
import polars as pl

from playbook.analysis.tables import Tables
from playbook.report.charts.chart import Chart
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.palette import QUIET, colour_of
from playbook.report.charts.ticks import STEPS

WIDTH, HEIGHT = 460, 200


def rungs_plot(tables: Tables) -> list[Chart]:
    """A line a trial over the steps of its rungs; nothing without rungs."""
    table = tables.rungs.drop_nulls("reached")
    if not len(table):
        return []
    last = max(table["step"].to_list())
    rows = table.with_columns(
        rests=(pl.col("status") == "paused") & (pl.col("step") == pl.col("step").max().over("trial"))
    )
    axis = objective_axis(rows["reached"].to_list(), tables.objective.mode)
    x = alt.X("step:Q", title="step", axis=alt.Axis(**STEPS), scale=alt.Scale(domain=[0, last], padding=8))
    y = alt.Y("reached:Q", title=f"best {tables.objective.metric} so far", scale=alt.Scale(**axis.vega_scale()))
    base = alt.Chart(alt.NamedData(name="rungs"))
    tip = ["trial:Q", "step:Q", "reached:Q", "status:N"]
    points = base.mark_point(size=50, opacity=1, color=colour_of(0)).encode(
        x=x,
        y=y,
        fillOpacity=alt.condition("datum.rests", alt.value(0), alt.value(1)),
        fill=alt.value(colour_of(0)),
        tooltip=tip,
    )
    lines = base.mark_line(color=QUIET, strokeWidth=1).encode(x=x, y=y, detail="trial:N")
    specification = alt.layer(lines, points).properties(width=WIDTH, height=HEIGHT).to_dict()
    caption = "Hollow: paused there. Of a rung the better part of each arm goes on, bit for bit."
    return [
        Chart(
            "rungs", "The trials at each rung", "rungs", specification, caption, {"rungs": rows.to_dicts()}, wide=True
        )
    ]
