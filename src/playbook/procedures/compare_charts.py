"""The evidence of a comparison as pictures: every repeat of both, and how the interval of the effect closed."""

from __future__ import annotations

import altair as alt

from playbook.procedures.comparison import Comparison
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import INFEASIBLE, QUIET, colour_of
from playbook.report.charts.ticks import number_axis

WIDTH, HEIGHT = 560, 240
WHOLE = alt.Axis(format="d", tickMinStep=1)
SIDES = ("candidate", "incumbent")


def compare_charts(comparison: Comparison) -> list[Chart]:
    """The repeats by pair; and where there was an interval, that of each look."""
    charts = [_repeats(comparison)]
    if any(look.low is not None for look in comparison.looks):
        charts.append(_effects(comparison))
    return charts


def _repeats(comparison: Comparison) -> Chart:
    repeats = [
        (place + 1, side, value)
        for place, pair in enumerate(comparison.pairs)
        for side, value in zip(SIDES, (pair.candidate, pair.incumbent), strict=True)
    ]
    known = [value for *_, value in repeats if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    scale = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
    worst = high + margin if comparison.mode == "min" else low - margin
    failed = [{"repeat": repeat, "side": side, "value": worst} for repeat, side, value in repeats if value is None]
    colours = alt.Scale(domain=list(SIDES), range=[colour_of(0), colour_of(1)])
    domain = [0.5, len(comparison.pairs) + 0.5]
    x = alt.X("repeat:Q", title="repeat", axis=WHOLE, scale=alt.Scale(domain=domain, nice=False))
    axis = alt.Axis(**number_axis("linear", low - margin, high + margin))
    y = alt.Y("value:Q", title=comparison.metric, scale=scale, axis=axis)
    shape = alt.Shape("side:N", title=None, scale=alt.Scale(domain=list(SIDES), range=["circle", "triangle"]))
    points = alt.Chart(alt.NamedData(name="repeats")).mark_point(filled=True, size=90, opacity=0.95)
    pairs = alt.Chart(alt.NamedData(name="repeats")).mark_line(color=QUIET, strokeWidth=1)
    means = alt.Chart(alt.NamedData(name="repeats")).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    side = alt.Color("side:N", title=None, scale=colours)
    layers = [
        pairs.encode(x=x, y=y, detail="repeat:Q"),
        means.encode(y=alt.Y("mean(value):Q", scale=scale), color=side),
        points.encode(x=x, y=y, color=side, shape=shape),
    ]
    rows = [{"repeat": repeat, "side": side, "value": value} for repeat, side, value in repeats if value is not None]
    data = {"repeats": rows}
    if failed:
        cross = alt.Chart(alt.NamedData(name="failed")).mark_point(shape="cross", color=INFEASIBLE, size=90, angle=45)
        layers.append(cross.encode(x=x, y=y))
        data["failed"] = failed
    what = {"split": "one split of the data", "both": "one seed and one split"}.get(comparison.vary, "one fresh seed")
    caption = f"Each pair shares {what}; dashed: the means. {comparison.metric} is {comparison.mode}imised."
    if failed:
        caption += " A cross at the worse end is an infeasible repeat."
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return Chart("repeats", "Every repeat of both", "compare", chart.to_dict(), caption, data)


def _effects(comparison: Comparison) -> Chart:
    rows = [
        {"repeats": look.repeats[0], "effect": look.effect, "low": look.low, "high": look.high}
        for look in comparison.looks
        if look.low is not None
    ]
    domain = [rows[0]["repeats"] - 0.5, rows[-1]["repeats"] + 0.5]  # type: ignore[operator]
    x = alt.X("repeats:Q", title="repeats of each", axis=WHOLE, scale=alt.Scale(domain=domain, nice=False))
    y = alt.Y("effect:Q", title=f"better in {comparison.metric} by", scale=alt.Scale(zero=False))
    base = alt.Chart(alt.NamedData(name="looks"))
    line = alt.Chart(alt.NamedData(name="margin")).mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5)
    chart = alt.layer(
        line.encode(y=alt.Y("effect:Q")),
        base.mark_rule(color=colour_of(0), strokeWidth=2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(color=colour_of(0), filled=True, size=70).encode(x=x, y=y),
    ).properties(width=WIDTH, height=HEIGHT)
    caption = (
        f"{100 * (1 - comparison.alpha):.4g} % intervals that may be looked at after every repeat. Above the"
        f" dashed line ({'the margin' if comparison.margin else 'no difference'}): adopt; below: keep."
    )
    data: dict[str, Rows] = {"looks": rows, "margin": [{"effect": comparison.margin}]}
    return Chart("effect", "The effect, look by look", "compare", chart.to_dict(), caption, data)
