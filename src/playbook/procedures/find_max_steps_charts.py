"""Steps to perfect training performance as pictures: over the learning rate, and the curves that they are read from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

from playbook.analysis.fastest_lr import SweptTrial
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import INFEASIBLE, QUIET, colour_of
from playbook.report.charts.ticks import number_axis

WIDTH, HEIGHT = 560, 260


@dataclass(frozen=True)
class Curve:
    """(step, value) of the training metric of a trial."""

    lr: float
    values: tuple[tuple[int, float], ...]
    is_repeat: bool


def max_steps_charts(
    trials: Sequence[SweptTrial],
    repeats: Sequence[SweptTrial],
    curves: Sequence[Curve],
    *,
    metric: str,
    target: float,
    longest: int,
    eval_every: int,
) -> list[Chart]:
    """The steps of each trial over its learning rate, and the curves of `metric`."""
    return [_steps(trials, repeats, longest, eval_every), _curves(curves, metric, target)]


def _steps(trials: Sequence[SweptTrial], repeats: Sequence[SweptTrial], longest: int, eval_every: int) -> Chart:
    x = _lr_axis([trial.lr for trial in trials])
    low = min([trial.steps for trial in trials if trial.steps] + [longest])
    domain = [max(1, low / 1.6), longest * 1.25]
    axis = alt.Axis(**number_axis("log", *domain))
    y = alt.Y("steps:Q", title="steps", axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))
    data: dict[str, Rows] = {
        "arrived": [{"lr": each.lr, "steps": max(1, each.steps)} for each in trials if each.steps is not None],
        "repeats": [{"lr": each.lr, "steps": max(1, each.steps)} for each in repeats if each.steps is not None],
        "missed": [{"lr": each.lr, "steps": longest} for each in (*trials, *repeats) if each.steps is None],
        "longest": [{"steps": longest}],
    }
    looks: dict[str, alt.Chart] = {
        "longest": _layer("longest").mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5).encode(y=y),
        "arrived": _layer("arrived").mark_point(filled=True, size=80, color=colour_of(0)).encode(x=x, y=y),
        "missed": _layer("missed").mark_point(shape="cross", color=INFEASIBLE, size=80, angle=45).encode(x=x, y=y),
        "repeats": _layer("repeats")
        .mark_point(shape="diamond", size=90, color=colour_of(1), strokeWidth=2)
        .encode(x=x, y=y),
    }
    layers = [layer for name, layer in looks.items() if data[name]]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    caption = (
        f"A circle a trial of the sweep, a diamond the fastest one with a fresh seed; looked at every {eval_every}"
        " steps. A cross on the dashed line, where trials end, did not get there."
    )
    return Chart("steps", "Steps to perfect training performance", "steps", chart.to_dict(), caption, data)


def _curves(curves: Sequence[Curve], metric: str, target: float) -> Chart:
    finite = [
        {"trial": place, "lr": curve.lr, "step": step, "value": value}
        for place, curve in enumerate(curves)
        for step, value in curve.values
        if math.isfinite(value)
    ]
    first = min((row["step"] for row in finite if row["step"] > 0), default=1)
    last = max((row["step"] for row in finite), default=1)
    start = max((row["value"] for row in finite if row["step"] == 0), default=1.0)
    top = 1.1 * start if start > target else 1.0
    rows = [{**row, "value": min(row["value"], top)} for row in finite if row["step"] > 0]
    lrs = [curve.lr for curve in curves]
    colour = alt.Color(
        "lr:Q",
        title="lr",
        scale=alt.Scale(type="log", scheme="viridis", domain=[min(lrs), max(lrs)]),
        legend=alt.Legend(**number_axis("log", min(lrs), max(lrs)) | {"labelOverlap": True}),
    )
    domain = [first, max(last, first + 1)]
    axis = alt.Axis(**number_axis("log", *domain))
    x = alt.X("step:Q", title="step", axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))
    y = alt.Y("value:Q", title=metric, scale=alt.Scale(domain=[min(0.0, target), top], nice=False))
    lines = _layer("curves").mark_line(strokeWidth=1.5, opacity=0.85, clip=True)
    layers = [
        _layer("target").mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5).encode(y="value:Q"),
        lines.encode(x=x, y=y, color=colour, detail="trial:N"),
    ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    caption = f"{metric} of a fixed sample of the training split, a line a trial. Dashed: {target:g}, which is perfect."
    data: dict[str, Rows] = {"curves": rows, "target": [{"value": target}]}
    return Chart("curves", "How the training metric fell", "steps", chart.to_dict(), caption, data)


def _lr_axis(lrs: Sequence[float]) -> alt.X:
    domain = [min(lrs) / 1.3, max(lrs) * 1.3]
    axis = alt.Axis(**number_axis("log", *domain))
    return alt.X("lr:Q", title="lr", axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))


def _layer(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=name))
