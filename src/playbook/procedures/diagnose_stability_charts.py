"""The evidence of a diagnosis as pictures: the sweep with where instability begins (F7a), losses above the best
learning rate (F7b), the abbreviated run seen often and seldom (F5), losses during warmups (F6), gradient norms (F9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import polars as pl

from playbook.analysis.curves.rectangle import Values
from playbook.analysis.instability_of_rates import Begins, BestRate, Rate
from playbook.procedures.diagnose_stability_mend import Mended
from playbook.procedures.diagnose_stability_runs import Bench, TrainedRun
from playbook.report.charts.chart import Chart
from playbook.report.charts.palette import INFEASIBLE, INK, QUIET, colour_of
from playbook.report.charts.thinning import thin
from playbook.report.charts.ticks import STEPS, number_axis

WIDTH, HEIGHT = 560, 240
POINTS = 700
SHOWN = (1e-4, 1e3)
"""Losses that are drawn: what is beyond lies at the edge."""
SECTION = "stability"
BELOW = alt.Legend(orient="bottom", columns=3)


def diagnosis_charts(
    bench: Bench, rates: Sequence[Rate], best: BestRate | None, starts: Begins | None, early: TrainedRun | None
) -> list[Chart]:
    """The sweep; and where there is a best learning rate, the losses above it and those of the abbreviated run."""
    charts = [_sweep(bench, rates, best, starts)]
    if best is not None:
        charts.append(_losses(bench, rates, best, starts))
    if early is not None:
        charts.append(_every_step(bench, early))
    return charts


def mending_charts(mended: Mended, bench: Bench, best: BestRate) -> list[Chart]:
    """The warmups that were tried, and the norms that the threshold was taken from."""
    charts = [_warmups(mended)] if mended.warmups else []
    if mended.clip_norm is not None:
        charts.append(_norms(bench.runs[best.lr, bench.seeds[0]], mended.clip_norm))
    return charts


def _sweep(bench: Bench, rates: Sequence[Rate], best: BestRate | None, starts: Begins | None) -> Chart:
    known = [value for rate in rates for value in rate.known] or [0.0, 1.0]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    mode = bench.call.config.objective.mode
    worst = high + margin if mode == "min" else low - margin
    rows = [
        {
            "lr": rate.lr,
            "value": worst if value is None else value,
            "run": "infeasible" if value is None else "unstable" if course.unstable else "stable",
        }
        for rate in rates
        for value, course in zip(rate.objectives, rate.courses, strict=True)
    ]
    ends = rates[0].lr / 1.3, rates[-1].lr * 1.3
    along = alt.Scale(type="log", domain=list(ends), nice=False)
    x = alt.X(
        "lr:Q",
        title="learning rate",
        scale=along,
        axis=alt.Axis(**number_axis("log", *ends)),
    )
    roots = mode == "min" and low >= 0  # a square root shows the last per cent beside what did not train
    span = 0.0 if roots else low - 2 * margin, high + 2 * margin
    y = alt.Y(
        "value:Q",
        title=bench.call.config.objective.metric,
        scale=alt.Scale(type="sqrt" if roots else "linear", domain=list(span), nice=False, zero=False),
        axis=alt.Axis(**number_axis("linear", *span)),
    )
    names, colours = ["stable", "unstable", "infeasible"], [colour_of(0), colour_of(1), INFEASIBLE]
    points = alt.Chart(alt.NamedData(name="sweep_runs")).mark_point(filled=True, size=60, opacity=0.85)
    shape = alt.Shape("run:N", title=None, scale=alt.Scale(domain=names, range=["circle", "triangle", "cross"]))
    colour = alt.Color("run:N", title=None, scale=alt.Scale(domain=names, range=colours))
    layers: list[Any] = []
    data: dict[str, Any] = {"sweep_runs": rows, "sweep_marks": [], "sweep_band": []}
    if best is not None:
        data["sweep_marks"].append({"lr": best.lr, "place": 0, "label": f"best: {best.lr:g}"})
        data["sweep_band"].append({"low": best.low, "high": best.high})
    if starts is not None:
        data["sweep_marks"].append({"lr": starts.lr, "place": 1, "label": f"unstable from {starts.lr:g}"})
    if best is not None:
        band = alt.Chart(alt.NamedData(name="sweep_band")).mark_rect(color=QUIET, opacity=0.2)
        layers.append(band.encode(x=alt.X("low:Q", scale=along), x2="high:Q"))
        marks = alt.Chart(alt.NamedData(name="sweep_marks"))
        layers.append(marks.mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1.5).encode(x=x))
        # One label to the left of its line and the other to the right: the lines may be close.
        sides: tuple[tuple[Literal["left", "right"], int], ...] = (("right", -4), ("left", 4))
        for place, (align, dx) in enumerate(sides):
            text = marks.mark_text(align=align, baseline="top", dx=dx, dy=4, color=INK, fontSize=12)
            only = text.transform_filter(alt.FieldEqualPredicate(field="place", equal=place))
            layers.append(only.encode(x=x, y=alt.value(0), text="label:N"))
    layers.append(points.encode(x=x, y=y, shape=shape, color=colour))
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    caption = (
        "Each run at its best checkpoint, a seed a point; unstable are those whose loss goes up during training."
        " Shaded: learning rates that cannot be told from the best."
    )
    return Chart("sweep", "Every run of full length", SECTION, chart.to_dict(), caption, data)


def _losses(bench: Bench, rates: Sequence[Rate], best: BestRate, starts: Begins | None) -> Chart:
    seed = bench.seeds[0]
    first = None if starts is None else starts.lr
    shown = [rate for rate in rates if rate.lr == best.lr or rate.lr == first or best.lr < rate.lr <= 10.1 * best.lr]
    while len(shown) > 6:  # those in the middle
        del shown[len(shown) // 2]
    curves = {f"{rate.lr:g} ({rate.lr / best.lr:.2g} ×)": bench.runs[rate.lr, seed].losses for rate in shown}
    caption = (
        f"Seed {seed}, the loss of every step before its update, at the best learning rate and above (E5). A line"
        " that ends early diverged. What is beyond the axis is drawn at its edge."
    )
    return _lines("losses", "Does the loss go up?", "learning rate", curves, caption, scale="log")


def _every_step(bench: Bench, early: TrainedRun) -> Chart:
    metric, every = bench.call.config.objective.metric, bench.call.config.eval_every
    rows = early.evals.select("step", pl.col("value"), curve=pl.lit("after every step"))
    seldom = rows.filter((pl.col("step") % every == 0) | (pl.col("step") == pl.col("step").max()))
    seldom = seldom.with_columns(curve=pl.lit(f"every {every:,} steps"))
    names = ["after every step", f"every {every:,} steps"]
    colour = alt.Color(
        "curve:N", title="evaluated", scale=alt.Scale(domain=names, range=[colour_of(0), colour_of(1)]), legend=BELOW
    )
    x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(**STEPS))
    falls = bool((rows["value"] >= 0).all()) and bench.call.config.objective.mode == "min"
    y = alt.Y("value:Q", title=metric, scale=alt.Scale(type="sqrt", zero=True) if falls else alt.Scale(zero=False))
    base = alt.Chart(alt.NamedData(name="every_step"))
    line = base.mark_line(strokeWidth=1).encode(x=x, y=y, color=colour)
    points = (
        base.mark_point(filled=True, size=50)
        .encode(x=x, y=y, color=colour)
        .transform_filter(alt.FieldEqualPredicate(field="curve", equal=names[1]))
    )
    data = {"every_step": pl.concat([rows, seldom]).to_dicts()}
    chart = alt.layer(line, points).properties(width=WIDTH, height=HEIGHT)
    caption = (
        f"An abbreviated run at {early.lr:g}, twice the best learning rate, seed {early.seed}. Instability that has"
        " gone again within a few steps is missed by evaluations that are far apart (E5)."
    )
    return Chart("every_step", "The first steps, seen often and seldom", SECTION, chart.to_dict(), caption, data)


def _warmups(mended: Mended) -> Chart:
    curves = {
        f"{each.steps:,} steps: {'holds' if each.holds else f'{each.holding} of {len(each.runs)} hold'}": each.runs[
            0
        ].losses
        for each in mended.warmups
    }
    caption = (
        f"The loss while the learning rate goes up to {mended.base_lr:g}, ten times the unstable one, and stays there"
        " for twice as long (E6); the first seed of each."
    )
    return _lines("warmups", "Which warmup holds?", "warmup", curves, caption, scale="log")


def _norms(run: TrainedRun, clip_norm: float) -> Chart:
    norms = {f"lr={run.lr:g}, seed {run.seed}": run.grad_norms}
    caption = f"Unclipped. Dashed: {clip_norm:g}, which a tenth of the steps exceed, a sensible clip_norm (E7)."
    return _lines("grad_norms", "The norm of the gradient", "run", norms, caption, title="norm", rule=clip_norm)


def _lines(
    name: str,
    heading: str,
    legend: str,
    curves: dict[str, Values],
    caption: str,
    *,
    scale: Literal["linear", "log"] = "linear",
    title: str = "loss",
    rule: float | None = None,
) -> Chart:
    """Curves over steps (from 1 on, so that a log scale has them), on a log axis that holds most of them."""
    tall = [
        pl.DataFrame(
            {"step": np.arange(1, len(values) + 1), "value": np.clip(np.nan_to_num(values, nan=SHOWN[1]), *SHOWN)}
        ).with_columns(curve=pl.lit(label))
        for label, values in curves.items()
    ]
    table = thin(pl.concat(tall), ["curve"], "value", POINTS)
    ends = float(table["value"].min()) / 1.2, float(table["value"].max()) * 1.2  # type: ignore[arg-type]
    last = int(table["step"].max())  # type: ignore[arg-type]
    along: dict[str, Any] = STEPS if scale == "linear" else number_axis("log", 1, max(last, 2))
    x = alt.X(
        "step:Q",
        title="step",
        scale=alt.Scale(type=scale, domain=[1, max(last, 2)], nice=False),
        axis=alt.Axis(**along),
    )
    y = alt.Y(
        "value:Q",
        title=title,
        scale=alt.Scale(type="log", domain=list(ends), nice=False),
        axis=alt.Axis(**number_axis("log", *ends)),
    )
    colours = alt.Scale(domain=list(curves), range=[colour_of(place) for place in range(len(curves))])
    line = alt.Chart(alt.NamedData(name=name)).mark_line(strokeWidth=1.2, opacity=0.9, clip=True)
    layers: list[Any] = [line.encode(x=x, y=y, color=alt.Color("curve:N", title=legend, scale=colours, legend=BELOW))]
    data: dict[str, Any] = {name: table.to_dicts()}
    if rule is not None:
        data[f"{name}_rule"] = [{"value": rule}]
        dashed = alt.Chart(alt.NamedData(name=f"{name}_rule")).mark_rule(strokeDash=[5, 4], color=INK, strokeWidth=1.5)
        layers.append(dashed.encode(y="value:Q"))
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return Chart(name, heading, SECTION, chart.to_dict(), caption, data)
