"""Training curves: of the best few trials, of those picked, and of any that is clicked (B8, B10).

The page holds thinned curves of all trials, or of as many as leave it light. A chart shows one family of metrics: the
error of validation and of training, or the losses. Where settings are repeated, the mean of the repeats is the line
that stands out, in a band of one standard error of that mean; else the best trial has a band of the standard error over
its validation examples, where that was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import polars as pl

from playbook.analysis import metrics
from playbook.analysis.tables import Tables
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.objective_axis import LOG_RATIO
from playbook.report.charts.palette import INK, QUIET, colour_of
from playbook.report.charts.repeated import Repeated, repeated
from playbook.report.charts.standing import standing
from playbook.report.charts.thinning import evenly, thin
from playbook.report.charts.ticks import STEPS, number_axis

MOST_POINTS = 180_000
"""Of all curves of the page: some two megabytes."""
FEWEST_POINTS, MOST_POINTS_OF_A_CURVE = 24, 200
MOST_FAMILIES = 6
MOST_REPEATED = 3
"""Settings whose repeats stand out: each is a handful of curves."""
STANDARD_ERROR = "_se"
"""What the name of a metric's standard error over examples ends with."""
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
    recorded = sorted(tables.curves["metric"].unique().to_list())
    for metric in recorded:
        if metric.endswith(STANDARD_ERROR) and metric.removesuffix(STANDARD_ERROR) in recorded:
            continue  # the band of the other
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
        recorded = set(trials)
        best = [trial for trial in tables.ranked()["trial"].to_list() if trial in recorded][: most_trials // 2]
        kept = set(best)
        best += evenly([trial for trial in trials if trial not in kept], most_trials - len(best))
        curves = curves.filter(pl.col("trial").is_in(best))
        trials = best
    each = MOST_POINTS // max(1, len(trials) * len(wanted))
    return thin(curves, ["trial", "metric"], "value", min(max(each, FEWEST_POINTS), MOST_POINTS_OF_A_CURVE))


@dataclass(frozen=True)
class Shown:
    """The curves that stand out: `names` has the legend's name of each trial, `repeats` the settings that are repeated.

    Without repeats `names` begins with the best trial.
    """

    names: Mapping[int, str]
    repeats: tuple[Repeated, ...] = ()

    @property
    def legend(self) -> list[str]:
        """The names, each once."""
        return list(dict.fromkeys(self.names.values()))


def shown_curves(tables: Tables) -> Shown:
    """The best trials; or, where settings are repeated, all repeats of the best settings."""
    best = standing(tables).shown
    of_trial = {trial: each for each in repeated(tables) for trial in each.trials}
    settings = tuple(dict.fromkeys(of_trial[trial] for trial in best if trial in of_trial))[:MOST_REPEATED]
    if settings:
        best = best[:MOST_REPEATED]
    names = {trial: label(trial) for trial in best if trial not in of_trial}
    return Shown(names | {trial: each.label for each in settings for trial in each.trials}, settings)


def curve_rows(
    curves: pl.DataFrame, family: Family, names: Mapping[int, str], others: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """The rows of a chart: `trial, step, value, on` and `who`, by which lines are coloured."""
    wanted = curves.filter(
        pl.col("metric").is_in(list(family.measured_on)) & pl.col("trial").is_in([*names, *others])
    ).filter(pl.col("value").is_finite())
    return [
        {
            "trial": row["trial"],
            "step": row["step"],
            "value": row["value"],
            "on": family.measured_on[row["metric"]],
            "metric": row["metric"],
            "who": names.get(row["trial"], OTHERS),
        }
        for row in wanted.iter_rows(named=True)
    ]


def band_rows(tables: Tables, family: Family, shown: Shown) -> list[dict[str, Any]]:
    """The rows of its bands: `step, value, low, high, on, metric, who, of`; `of` says what the band is of."""
    found = [row for each in shown.repeats for row in _of_repeats(tables, family, each)]
    return found or [row for trial in list(shown.names)[:1] for row in _of_examples(tables, family, trial)]


def _of_repeats(tables: Tables, family: Family, setting: Repeated) -> list[dict[str, Any]]:
    value = pl.col("value")
    rows = (
        tables.curves.filter(pl.col("trial").is_in(setting.trials) & pl.col("metric").is_in(list(family.measured_on)))
        .filter(value.is_finite())
        .group_by("metric", "step")
        .agg(value=value.mean(), se=value.std() / value.count().sqrt())
        .sort("metric", "step")
    )
    rows = rows.with_columns(pl.col("se").fill_null(0.0))
    return _bands(thin(rows, ["metric"], "value", MOST_POINTS_OF_A_CURVE), family, setting.label, "repeats")


def _of_examples(tables: Tables, family: Family, trial: int) -> list[dict[str, Any]]:
    of_trial = tables.curves.filter(trial=trial)
    errors = of_trial.filter(pl.col("metric").is_in([f"{metric}{STANDARD_ERROR}" for metric in family.measured_on]))
    errors = errors.select("step", pl.col("metric").str.strip_suffix(STANDARD_ERROR), se="value")
    rows = of_trial.join(errors, on=["metric", "step"]).filter(pl.col("value").is_finite() & pl.col("se").is_finite())
    thinned = thin(rows.sort("metric", "step"), ["metric"], "value", MOST_POINTS_OF_A_CURVE)
    return _bands(thinned, family, label(trial), "examples")


def _bands(rows: pl.DataFrame, family: Family, who: str, of: str) -> list[dict[str, Any]]:
    return [
        {
            "step": row["step"],
            "value": row["value"],
            "low": row["value"] - row["se"],
            "high": row["value"] + row["se"],
            "on": family.measured_on[row["metric"]],
            "metric": row["metric"],
            "who": who,
            "of": of,
        }
        for row in rows.iter_rows(named=True)
    ]


def label(trial: int) -> str:
    """How a trial is named in a legend."""
    return f"trial {trial}"


def curves_plot(
    curves: pl.DataFrame, family: Family, shown: Shown, bands: Rows, place: int, first_colour: int = 0
) -> Chart:
    """The chart of a family; its data sets are `curves_<place>` and, with `band_rows`, `bands_<place>`.

    The colours before `first_colour` are those of arms.
    """
    best = curves.filter(pl.col("metric").is_in(list(family.measured_on)) & pl.col("trial").is_in(list(shown.names)))
    ends = _ends(best.filter(pl.col("value").is_finite()))
    colours = [colour_of(first_colour + index) for index in range(len(shown.legend))]
    who = alt.Color(
        "who:N",
        title=None,
        scale=alt.Scale(domain=[*shown.legend, SELECTED, OTHERS], range=[*colours, INK, QUIET]),
        legend=alt.Legend(
            orient="bottom",
            columns=2 if shown.repeats else 4,
            symbolType="stroke",
            symbolStrokeWidth=3,
            symbolOpacity=1,
        ),
    )
    both = len(set(family.measured_on.values())) > 1
    dash = alt.StrokeDash(
        "on:N",
        title=None,
        scale=alt.Scale(domain=["validation", "training"], range=[[1, 0], [3, 3]]),
        legend=alt.Legend(orient="top", symbolType="stroke", direction="horizontal") if both else None,
    )
    x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False, zero=True), axis=alt.Axis(**STEPS))
    scale = alt.Scale(**ends)
    y = alt.Y("value:Q", title=family.name, scale=scale, axis=alt.Axis(**number_axis(ends["type"], *ends["domain"])))
    is_other = f"datum.who === '{OTHERS}'"
    is_repeat = f"indexof({json.dumps([each.label for each in shown.repeats])}, datum.who) >= 0"
    faint = [{"test": is_other, "value": 0.8}, {"test": is_repeat, "value": 0.9}]
    lines = (
        alt.Chart(alt.NamedData(name=f"curves_{place}"))
        .mark_line(clip=True, interpolate="linear")
        .encode(
            x=x,
            y=y,
            color=who,
            strokeDash=dash,
            detail=["trial:N", "metric:N"],
            strokeWidth=alt.StrokeWidthValue(1.8, condition=faint),
            opacity=alt.OpacityValue(0.95, condition=[{"test": f"{is_other} || {is_repeat}", "value": 0.4}]),
            tooltip=["trial:Q", "metric:N", "step:Q", alt.Tooltip("value:Q", format=".4~g")],
        )
    )
    layers: list[Any] = [lines]
    if bands:
        base = alt.Chart(alt.NamedData(name=f"bands_{place}")).encode(x=x, color=who, detail=["metric:N"])
        layers.insert(0, base.mark_area(opacity=0.17, clip=True).encode(y=alt.Y("low:Q", scale=scale), y2="high:Q"))
    if shown.repeats:
        tooltip = ["who:N", "metric:N", "step:Q", *(alt.Tooltip(f"{key}:Q", format=".4~g") for key in _BAND)]
        layers.append(base.mark_line(clip=True, strokeWidth=2).encode(y=y, strokeDash=dash, tooltip=tooltip))
    specification = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT).to_dict()
    caption = ""
    if bands:
        over = "the mean over repeats" if shown.repeats else "the best trial, over its validation examples"
        caption = f"Band: one standard error either way, of {over}."
    name = f"curves_{family.name.replace(' ', '_')}"
    low, high = ends["domain"]  # what is far beyond an axis would take its room, and a log axis has no 0
    within = [{**row, "low": max(row["low"], low), "high": min(row["high"], high)} for row in bands]
    data = {f"bands_{place}": within} if bands else {}
    return Chart(name, family.name, "curves", specification, caption, data, wide=True)


_BAND = ("value", "low", "high")


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
