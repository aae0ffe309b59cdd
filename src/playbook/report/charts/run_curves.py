"""One run as a picture: its loss, its objective against chance, the norm of the gradient, and the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import altair as alt
import polars as pl

from playbook.config import Config
from playbook.report.charts.palette import BEST, STAR
from playbook.report.charts.thinning import thin
from playbook.run_files import Result

WIDTH, HEIGHT = 640, 150
MAX_POINTS = 1000
"""Points of a line: a thousand are more than the eye tells apart at this width."""

_COLOURS = {"train": "#9aa5b1", "train sample": "#4c78a8", "validation": "#e45756"}


class RecordedRun(Protocol):
    """What is drawn of a run; `playbook.load_run` gives one. Tables have the columns of `playbook.run_files`."""

    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> Config: ...
    @property
    def steps(self) -> pl.DataFrame: ...
    @property
    def evals(self) -> pl.DataFrame: ...
    @property
    def result(self) -> Result | None: ...


def plot_run(run: RecordedRun) -> alt.VConcatChart:
    """The chart of a run, finished or not; `plot_run(run).save("run.svg")`, or `.html`, or `.png`, writes it.

    Over steps: the loss (log scale); the objective's metric, or the error where the objective is the loss itself; the
    norm of the gradient (log scale); the learning rate. The objective has a star at its best step and a dashed line at
    chance, the norm a dashed line at `clip_norm`.
    """
    steps, evals, objective = run.steps, run.evals, run.config.objective
    last_step = max([1, *steps["step"].to_list()[-1:], *evals["step"].to_list()[-1:]])
    x = alt.X("step:Q", title=None, scale=alt.Scale(domain=[0, last_step], nice=False))
    losses = pl.concat(
        [
            steps.select("step", value=pl.col("loss"), curve=pl.lit("train")),
            _metric(evals, "train/eval_loss", "train sample"),
            _metric(evals, "val/loss", "validation"),
        ]
    ).filter(pl.col("value") > 0)
    loss = _coloured(losses, x, alt.Y("value:Q", title="loss", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4)))
    name = objective.metric.partition("/")[2]
    marks = _marks(_metric(evals, objective.metric, ""), x, run.result)
    panels = [loss]
    if name in ("loss", "eval_loss"):
        panels, name, marks = [alt.layer(loss, *marks)], "error", []
    of_samples = [_metric(evals, f"train/{name}", "train sample"), _metric(evals, f"val/{name}", "validation")]
    if len(curves := pl.concat(of_samples)) or marks:
        falls = bool((curves["value"] >= 0).all()) and (name == "error" or objective.mode == "min")
        # A square root shows the last per cent beside where it began, and has a place for an error of 0.
        scale = alt.Scale(type="sqrt", zero=True) if falls else alt.Scale(zero=False)
        y = alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(tickCount=4))
        panels.append(alt.layer(_coloured(curves, x, y), *marks))
    norms = _line(steps.filter(pl.col("grad_norm") > 0), "grad_norm", x, "gradient norm", alt.Scale(type="log"))
    clip_norm = run.config.clip_norm
    panels.append(norms if clip_norm is None else alt.layer(norms, _rule(clip_norm, "clip_norm")))
    panels = [panel.properties(width=WIDTH, height=HEIGHT) for panel in panels]
    rate = _line(steps, "lr", x, "learning rate", alt.Scale(zero=True, padding=6))
    return (
        alt.vconcat(*panels, rate.properties(width=WIDTH, height=HEIGHT // 2), spacing=12)
        .properties(title=alt.Title(run.path.name, anchor="start"))
        .resolve_scale(x="shared", color="independent")
        .configure_axis(grid=True, gridColor="#eeeeee", labelColor="#444444", titleColor="#444444")
        .configure_view(stroke=None)
    )


def _metric(evals: pl.DataFrame, metric: str, curve: str) -> pl.DataFrame:
    return evals.filter(pl.col("metric") == metric).select("step", "value", curve=pl.lit(curve))


def _marks(curve: pl.DataFrame, x: alt.X, result: Result | None) -> list[Any]:
    """The star of the best evaluation, and chance."""
    marks: list[Any] = []
    if result is not None and len(best := curve.filter(pl.col("step").eq_missing(result.best_step))):
        star = alt.Chart(best).mark_point(shape=STAR, filled=True, size=180, color=BEST, opacity=1)
        marks.append(star.encode(x=x, y="value:Q"))
    if result is not None and result.chance is not None:
        marks.append(_rule(result.chance, "chance"))
    return marks


def _coloured(curves: pl.DataFrame, x: alt.X, y: alt.Y) -> Any:
    curves = thin(curves.filter(pl.col("value").is_finite()), ["curve"], "value", MAX_POINTS)
    names = [name for name in _COLOURS if name in set(curves["curve"])]
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    color = alt.Color("curve:N", title=None, scale=scale, legend=alt.Legend(orient="top-right"))
    chart = alt.Chart(curves).mark_line(strokeWidth=1.5, clip=True)
    return chart.encode(x=x, y=y, color=color, tooltip=["curve", "step", "value"])


def _line(steps: pl.DataFrame, column: str, x: alt.X, title: str, scale: alt.Scale) -> Any:
    line = steps.filter(pl.col(column).is_finite()).select("step", column, line=pl.lit(column))
    chart = alt.Chart(thin(line, ["line"], column, MAX_POINTS)).mark_line(strokeWidth=1, color="#4c78a8", clip=True)
    y = alt.Y(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4))
    return chart.encode(x=x, y=y, tooltip=["step", column])


def _rule(value: float, label: str) -> Any:
    data = pl.DataFrame({"value": [value], "label": [label]})
    base = alt.Chart(data).encode(y="value:Q")
    line = base.mark_rule(strokeDash=[5, 4], color="#888888")
    text = base.mark_text(align="left", baseline="bottom", dx=4, color="#888888").encode(x=alt.value(0), text="label:N")
    return line + text
