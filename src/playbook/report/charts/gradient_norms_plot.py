"""The norm of the gradient of the best trial, by step and as a histogram, with thresholds for clipping (E7, F9)."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from playbook.analysis.rules.clipping import Thresholds, threshold
from playbook.analysis.tables import Tables
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import INK, colour_of
from playbook.report.charts.thinning import thin
from playbook.report.charts.ticks import STEPS, number_axis

POINTS = 600
BINS = 40
WIDTH, HEIGHT = 460, 200


def gradient_norms_plots(tables: Tables) -> list[Chart]:
    """Both charts of the best trial of all, if its steps are known."""
    for trial in tables.ranked()["trial"].head(1):
        norms = _norms(tables.steps[trial]) if trial in tables.steps else pl.DataFrame()
        if len(norms) > 1:
            return _charts(tables, trial, norms)
    return []


def _charts(tables: Tables, trial: int, norms: pl.DataFrame) -> list[Chart]:
    thresholds = []
    if (proposed := threshold(norms["grad_norm"])) is not None:
        thresholds.append({"value": proposed, "label": f"{Thresholds.percentile:g}th percentile: {proposed:g}"})
    if tables.clip_norm is not None:
        thresholds.append({"value": tables.clip_norm, "label": f"clip_norm={tables.clip_norm:g}"})
    data = {
        "grad_norms": thin(norms.with_columns(trial=trial), ["trial"], "grad_norm", POINTS).to_dicts(),
        "grad_norm_counts": _histogram(norms),
        "grad_norm_thresholds": thresholds,
    }
    low, high = float(norms["grad_norm"].min()), float(norms["grad_norm"].max())  # type: ignore[arg-type]
    ends = (low / 1.1, high * 1.1)
    scale, axis = alt.Scale(type="log", domain=ends, nice=False), alt.Axis(**number_axis("log", *ends))
    x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(**STEPS))
    y = alt.Y("grad_norm:Q", title="norm of the gradient, unclipped", scale=scale, axis=axis)
    thresholds_of = alt.Chart(alt.NamedData(name="grad_norm_thresholds"))
    line = alt.Chart(alt.NamedData(name="grad_norms")).mark_line(strokeWidth=1, color=colour_of(0)).encode(x=x, y=y)
    rule = thresholds_of.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1.5).encode(y="value:Q")
    text = thresholds_of.mark_text(align="right", baseline="bottom", dx=-4, dy=-3, color=INK, fontSize=12).encode(
        x=alt.value("width"), y="value:Q", text="label:N"
    )
    against_step = alt.layer(line, rule, text).properties(width=WIDTH, height=HEIGHT)
    value = alt.X("low:Q", title="norm of the gradient, unclipped", scale=scale, axis=axis)
    bars = (
        alt.Chart(alt.NamedData(name="grad_norm_counts"))
        .mark_rect(color=colour_of(0), opacity=0.75)
        .encode(
            x=value,
            x2="high:Q",
            y=alt.Y("steps:Q", title="steps", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            y2=alt.datum(0),
            tooltip=[alt.Tooltip("low:Q", format=".3~g"), alt.Tooltip("high:Q", format=".3~g"), "steps:Q"],
        )
    )
    upright = thresholds_of.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1.5).encode(x="value:Q")
    histogram = alt.layer(bars, upright).properties(width=WIDTH, height=HEIGHT)
    caption = "Dashed: the norm that a tenth of its steps exceed, a sensible clip_norm where clipping is wanted."
    norm, counts = "gradient_norms", "gradient_norms_histogram"
    return [
        Chart(norm, f"Trial {trial}, step by step", "gradients", against_step.to_dict(), caption, data, wide=True),
        Chart(counts, "How often it is how large", "gradients", histogram.to_dict(), data=data, wide=True),
    ]


def _norms(steps: pl.DataFrame) -> pl.DataFrame:
    usable = pl.col("grad_norm").is_finite() & (pl.col("grad_norm") > 0)
    return steps.select("step", "grad_norm").filter(usable)


def _histogram(norms: pl.DataFrame) -> list[dict[str, Any]]:
    """Counts in bins that are even on a log scale."""
    logs = norms["grad_norm"].log10()
    low, high = float(logs.min()), float(logs.max())  # type: ignore[arg-type]
    width = (high - low) / BINS or 0.1
    place = ((pl.col("grad_norm").log10() - low) / width).floor().clip(0, BINS - 1)
    counts = norms.group_by(place.alias("bin")).agg(steps=pl.len()).sort("bin")
    return counts.with_columns(
        low=10 ** (low + pl.col("bin") * width), high=10 ** (low + (pl.col("bin") + 1) * width)
    ).to_dicts()
