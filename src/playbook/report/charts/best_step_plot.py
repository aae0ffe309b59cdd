"""Where retrospective selection finds the best step of each trial (C2): the numbers behind `rules/best_step`.

The bars are of the trials that trained, and solid where the verdict asks them. Edges fall as the verdict's do: a tenth
of the run is still early, three quarters of it already late.
"""

from __future__ import annotations

import math

import altair as alt
import polars as pl

from playbook.analysis.curves.rectangle import best_first
from playbook.analysis.repeats import setting_of_trials
from playbook.analysis.rules.best_step import Thresholds, best_step_shares
from playbook.analysis.tables import Tables
from playbook.report.charts.arms import arm_colour
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import INFEASIBLE, QUIET, colour_of
from playbook.report.charts.standing import standing

BINS = 20
WIDTH, HEIGHT = 460, 200


def best_step_plot(tables: Tables) -> list[Chart]:
    """The histogram of best steps, each as a share of its own trial's steps; nothing where no trial says."""
    shares = best_step_shares(tables).join(tables.trials.select("trial", "arm"), on="trial")
    shares = shares.with_columns(asked=pl.col("trial").is_in(list(asked(tables))))
    shares = shares.filter(pl.col("asked") | ~pl.col("trial").is_in(list(standing(tables).failed)))
    if not len(shares):
        return []
    rows = _bars(shares)
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
            opacity=alt.condition("datum.asked", alt.value(1), alt.value(0.4)),
            tooltip=["arm:N", "tip:N"],
        )
    )
    specification = alt.layer(zone, bars).properties(width=WIDTH, height=HEIGHT).to_dict()
    caption = (
        "Solid: the better trials, which the verdict asks; pale: the others that trained. Shaded: the first 10 % (far"
        " too many steps, if the best are always there) and the last 25 % (maybe too few, if consistently there)."
    )
    data = {"best_step": rows, "best_step_zones": zones}
    return [Chart("best_step", "Best step of each trial", "steps", specification, caption, data, wide=True)]


def asked(tables: Tables) -> set[int]:
    """The trials that the verdict asks: one of each of the better settings of an arm."""
    found: set[int] = set()
    fewest, most = Thresholds.asked
    for arm, rows in best_first(tables, best_step_shares(tables)):
        settings = rows.join(setting_of_trials(tables, arm), on="trial", maintain_order="left")
        settings = settings.unique("setting", keep="first", maintain_order=True)
        found |= set(settings["trial"].head(min(max(fewest, math.ceil(len(settings) / 4)), most)))
    return found


def _bars(shares: pl.DataFrame) -> list[dict[str, object]]:
    """A row a bar: where it is, and how many trials of an arm it holds, those asked below."""
    place = (pl.col("share") * BINS).round(9)
    # A share on an edge belongs to the bar that is nearer to its end of the run, as early and late do.
    bins = pl.when(pl.col("share") <= 0.5).then(place.ceil() - 1).otherwise(place.floor()).clip(0, BINS - 1)
    counts = shares.group_by("arm", "asked", bins.cast(pl.Int64()).alias("bin")).agg(count=pl.len())
    counts = counts.sort("arm", "asked", "bin", descending=[False, True, False])
    to = pl.col("count").cum_sum().over("bin")  # one on top of the other
    said = pl.format("{} trials{}", "count", pl.when("asked").then(pl.lit(", asked")).otherwise(pl.lit("")))
    return counts.with_columns(
        begin=pl.col("bin") / BINS,
        end=(pl.col("bin") + 0.92) / BINS,
        bottom=to - pl.col("count"),
        top=to,
        tip=said,
    ).to_dicts()
