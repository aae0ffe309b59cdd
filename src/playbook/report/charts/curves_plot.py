"""Training curves: of the best few trials, of those picked, and of any that is clicked (B8, B10).

The page holds thinned curves of all trials, or of as many as leave it light. A chart shows one family of metrics: the
error of validation and of training, or the losses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from playbook.analysis import metrics
from playbook.analysis.tables import Tables
from playbook.report.charts.chart import Chart
from playbook.report.charts.objective_axis import LOG_RATIO
from playbook.report.charts.palette import INK, QUIET, colour_of
from playbook.report.charts.thinning import evenly, thin
from playbook.report.charts.ticks import STEPS, number_axis

MOST_POINTS = 180_000
"""Of all curves of the page: some two megabytes."""
FEWEST_POINTS, MOST_POINTS_OF_A_CURVE = 24, 200
MOST_FAMILIES = 6
OTHERS = "other trials"
SELECTED = "selected"
WIDTH, HEIGHT = 460, 260


@dataclass(frozen=True)
class Family:
    """Metrics that belong on one axis, by what they are measured on: `{"val/loss": "validation", …}`."""

    name: str
    measured_on: Mapping[str, str]


def families(tables: Tables) -> list[Family]:
    """The families of the curves' metrics: that of the objective, the losses, the others."""
    found: dict[str, dict[str, str]] = {}
    for metric in sorted(tables.curves["metric"].unique().to_list()):
        said = [word for word in metrics.words(metric) if word not in metrics.TRAINING | metrics.VALIDATION]
        where = "training" if metrics.is_training(metric) else "validation"
        found.setdefault(" ".join(said) or metric, {})[metric] = where
    if "error" in found:
        found.pop("accuracy", None)  # what is left of it
    ranked = sorted(
        found.items(), key=lambda each: (tables.objective.metric not in each[1], not any(map(metrics.is_loss, each[1])))
    )
    return [Family(name, measured_on) for name, measured_on in ranked[:MOST_FAMILIES]]


def thinned_curves(tables: Tables, shown: Sequence[Family]) -> pl.DataFrame:
    """`trial, step, metric, value` for the page: all trials if they fit, else the best and an even choice of others."""
    wanted = [metric for family in shown for metric in family.measured_on]
    curves = tables.curves.filter(pl.col("metric").is_in(wanted)).sort("trial", "metric", "step")
    trials = curves["trial"].unique(maintain_order=True).to_list()
    most_trials = max(1, MOST_POINTS // (FEWEST_POINTS * max(1, len(wanted))))
    if len(trials) > most_trials:
        ranked = [trial for trial in tables.ranked()["trial"].to_list() if trial in set(trials)]
        best = ranked[: most_trials // 2]
        left = [trial for trial in trials if trial not in set(best)]
        best += evenly(left, most_trials - len(best))
        curves = curves.filter(pl.col("trial").is_in(best))
        trials = best
    each = MOST_POINTS // max(1, len(trials) * len(wanted))
    return thin(curves, ["trial", "metric"], "value", min(max(each, FEWEST_POINTS), MOST_POINTS_OF_A_CURVE))


def curve_rows(
    curves: pl.DataFrame, family: Family, best: Sequence[int], others: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The rows of a chart: `trial, step, value, on` and `who`, by which lines are coloured."""
    wanted = curves.filter(
        pl.col("metric").is_in(list(family.measured_on)) & pl.col("trial").is_in([*best, *others])
    ).filter(pl.col("value").is_finite())
    return [
        {
            "trial": row["trial"],
            "step": row["step"],
            "value": row["value"],
            "on": family.measured_on[row["metric"]],
            "metric": row["metric"],
            "who": label(row["trial"]) if row["trial"] in best else OTHERS,
        }
        for row in wanted.iter_rows(named=True)
    ]


def label(trial: int) -> str:
    """How a trial is named in a legend."""
    return f"trial {trial}"


def curves_plot(curves: pl.DataFrame, family: Family, best: Sequence[int], place: int, first_colour: int = 0) -> Chart:
    """The chart of a family; its data set is `curves_<place>`. The colours before `first_colour` are those of arms."""
    shown = curves.filter(pl.col("metric").is_in(list(family.measured_on)) & pl.col("trial").is_in(list(best)))
    ends = _ends(shown.filter(pl.col("value").is_finite()))
    axis = alt.Axis(**number_axis(ends["type"], *ends["domain"]))
    names = [label(trial) for trial in best]
    colours = [colour_of(first_colour + index) for index in range(len(best))]
    who = alt.Color(
        "who:N",
        title=None,
        scale=alt.Scale(domain=[*names, SELECTED, OTHERS], range=[*colours, INK, QUIET]),
        legend=alt.Legend(orient="bottom", columns=4, symbolType="stroke", symbolStrokeWidth=3),
    )
    both = len(set(family.measured_on.values())) > 1
    dash = alt.StrokeDash(
        "on:N",
        title=None,
        scale=alt.Scale(domain=["validation", "training"], range=[[1, 0], [3, 3]]),
        legend=alt.Legend(orient="top", symbolType="stroke", direction="horizontal") if both else None,
    )
    is_other = f"datum.who === '{OTHERS}'"
    chart = (
        alt.Chart(alt.NamedData(name=f"curves_{place}"))
        .mark_line(clip=True, interpolate="linear")
        .encode(
            x=alt.X("step:Q", title="step", scale=alt.Scale(nice=False, zero=True), axis=alt.Axis(**STEPS)),
            y=alt.Y("value:Q", title=family.name, scale=alt.Scale(**ends), axis=axis),
            color=who,
            strokeDash=dash,
            detail=["trial:N", "metric:N"],
            strokeWidth=alt.condition(is_other, alt.value(0.8), alt.value(1.8)),
            opacity=alt.condition(is_other, alt.value(0.4), alt.value(0.95)),
            tooltip=["trial:Q", "metric:N", "step:Q", alt.Tooltip("value:Q", format=".4~g")],
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return Chart(f"curves_{family.name.replace(' ', '_')}", family.name, "curves", chart.to_dict(), wide=True)


def _ends(curves: pl.DataFrame) -> dict[str, Any]:
    """Vega-Lite's `scale`, made for the best few: what another trial does beyond it is cut off."""
    if not len(curves):
        return {"type": "linear", "domain": [0, 1]}
    values = curves["value"]
    of_each = curves.sort("step").group_by("trial", "metric")
    falls = of_each.agg(pl.col("value").last() < pl.col("value").first())["value"].mean()
    low, high = float(values.min()), float(values.quantile(0.995) or 0.0)  # type: ignore[arg-type]
    falling = isinstance(falls, float) and falls > 0.5  # towards 0, where small differences matter
    if falling and low > 0 and high / low > LOG_RATIO:
        return {"type": "log", "domain": [low / 1.1, high * 1.3], "nice": False}
    if falling and low >= 0 and high > 5 * float(values.median() or high):  # type: ignore[arg-type]
        # A square root shows the last per cent beside where it began, and has a place for an error of 0.
        return {"type": "sqrt", "domain": [0, 1.05 * high], "nice": False}
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    low = max(low - margin, 0.0) if low >= 0 else low - margin
    return {"type": "linear", "domain": [low, high + margin], "nice": False, "zero": False}
