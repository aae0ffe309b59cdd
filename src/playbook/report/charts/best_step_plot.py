"""Where retrospective selection finds the best step of each trial (C2): the numbers behind `rules/best_step`."""

from __future__ import annotations

import altair as alt
import polars as pl

from playbook.analysis.rules.best_step import Thresholds, best_step_shares
from playbook.analysis.tables import Tables
from playbook.report.charts.axis_plots import arm_colour
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import INFEASIBLE, QUIET, colour_of

BINS = 20
WIDTH, HEIGHT = 460, 200


def best_step_plot(tables: Tables) -> list[Chart]:
    """The histogram of best steps, each as a share of its own trial's steps; nothing where no trial says."""
    shares = best_step_shares(tables).join(tables.trials.select("trial", "arm"), on="trial")
    if not len(shares):
        return []
    bins = (pl.col("share") * BINS + 1e-9).floor().cast(pl.Int64()).clip(0, BINS - 1)
    counts = shares.group_by("arm", bins.alias("bin")).agg(count=pl.len()).sort("arm", "bin")
    to = pl.col("count").cum_sum().over("bin")  # an arm on top of the other
    rows = counts.with_columns(
        begin=pl.col("bin") / BINS, end=(pl.col("bin") + 0.92) / BINS, bottom=to - pl.col("count"), top=to
    ).to_dicts()
    zones = [
        {"begin": 0.0, "end": Thresholds.early, "zone": "far too many steps if always here"},
        {"begin": Thresholds.late, "end": 1.0, "zone": "maybe too few if consistently here"},
    ]
    x = alt.X(
        "begin:Q", title="best step, as a share of the run", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")
    )
    zone = (
        alt.Chart(alt.NamedData(name="best_step_zones"))
        .mark_rect(opacity=0.13)
        .encode(
            x=x,
            x2="end:Q",
            tooltip="zone:N",
            color=alt.condition("datum.begin == 0", alt.value(INFEASIBLE), alt.value(QUIET)),
        )
    )
    several = len(tables.arms) > 1
    bars = (
        alt.Chart(alt.NamedData(name="best_step"))
        .mark_rect()
        .encode(
            x=x,
            x2="end:Q",
            y=alt.Y("bottom:Q", title="trials", axis=alt.Axis(tickMinStep=1, format="d")),
            y2="top:Q",
            color=arm_colour(tables, orient="top", columns=1) if several else alt.value(colour_of(0)),
            tooltip=["arm:N", alt.Tooltip("begin:Q", format=".0%"), alt.Tooltip("count:Q", title="trials")],
        )
    )
    specification = alt.layer(zone, bars).properties(width=WIDTH, height=HEIGHT).to_dict()
    caption = (
        "Shaded: the first 10 % (far too many steps, if the best are always there) and the last 25 %"
        " (maybe too few, if consistently there)."
    )
    data = {"best_step": rows, "best_step_zones": zones}
    return [Chart("best_step", "Best step of each trial", "steps", specification, caption, data, wide=True)]
