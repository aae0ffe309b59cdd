"""One run as a picture: losses, errors against chance, the norm of the gradient, and the learning rate, over steps."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

WIDTH, HEIGHT = 640, 150
MAX_POINTS = 1000
"""Points of a line: a thousand are more than the eye tells apart at this width."""

_COLOURS = {"train": "#9aa5b1", "train sample": "#4c78a8", "validation": "#e45756"}


def run_curves(
    steps: pl.DataFrame,
    evals: pl.DataFrame,
    *,
    title: str,
    best_step: int | None = None,
    chance: float | None = None,
    clip_norm: float | None = None,
) -> alt.VConcatChart:
    """The chart of a run from its `steps` and `evals` tables (columns as in `playbook.run_files`).

    `best_step` gets a star on the validation error, `chance` and `clip_norm` a dashed line.
    """
    thin = thinned(steps, MAX_POINTS)
    last_step = max([1, *steps["step"].to_list()[-1:], *evals["step"].to_list()[-1:]])
    x = alt.X("step:Q", title=None, scale=alt.Scale(domain=[0, last_step], nice=False))
    panels = [
        _losses(thin, evals, x),
        _errors(evals, x, best_step, chance),
        _gradient_norms(thin, x, clip_norm),
        _line(thin, "lr", x, "learning rate", alt.Scale(zero=True, padding=6)).properties(height=HEIGHT // 2),
    ]
    return (
        alt.vconcat(*panels, spacing=12)
        .properties(title=alt.Title(title, anchor="start"))
        .resolve_scale(x="shared", color="independent")
        .configure_axis(grid=True, gridColor="#eeeeee", labelColor="#444444", titleColor="#444444")
        .configure_view(stroke=None)
    )


def thinned(table: pl.DataFrame, count: int) -> pl.DataFrame:
    """About `count` rows that look like the table: of every stretch of steps the rows of least and largest loss."""
    if len(table) <= count:
        return table
    stretch = pl.int_range(pl.len()) * (count // 2) // pl.len()
    extremes = [pl.col("loss").arg_min(), pl.col("loss").arg_max(), pl.col("grad_norm").arg_max()]
    rows = table.with_row_index("row").group_by(stretch.alias("stretch"), maintain_order=True)
    kept = rows.agg(*(pl.col("row").get(which).alias(f"kept_{n}") for n, which in enumerate(extremes)))
    indices = pl.concat([kept[f"kept_{n}"] for n in range(len(extremes))]).unique().sort()
    return table[indices]


def _losses(steps: pl.DataFrame, evals: pl.DataFrame, x: alt.X) -> Any:
    curves = pl.concat(
        [
            steps.select("step", value=pl.col("loss"), curve=pl.lit("train")),
            _metric(evals, "train/eval_loss", "train sample"),
            _metric(evals, "val/loss", "validation"),
        ]
    ).filter(pl.col("value").is_finite() & (pl.col("value") > 0))
    y = alt.Y("value:Q", title="loss", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=4))
    return _coloured(curves, x, y)


def _errors(evals: pl.DataFrame, x: alt.X, best_step: int | None, chance: float | None) -> Any:
    curves = pl.concat(
        [_metric(evals, "train/error", "train sample"), _metric(evals, "val/error", "validation")]
    ).filter(pl.col("value").is_finite())
    # A square root shows the last per cent beside where it began, and has a place for an error of 0.
    y = alt.Y("value:Q", title="error", scale=alt.Scale(type="sqrt", zero=True), axis=alt.Axis(tickCount=4))
    layers = [_coloured(curves, x, y)]
    best = curves.filter((pl.col("curve") == "validation") & pl.col("step").eq_missing(best_step))
    if len(best):
        star = "M0,-1L0.22,-0.31L0.95,-0.31L0.36,0.12L0.59,0.81L0,0.38L-0.59,0.81L-0.36,0.12L-0.95,-0.31L-0.22,-0.31Z"
        mark = alt.Chart(best).mark_point(shape=star, filled=True, size=180, color="#f2a900", opacity=1)
        layers.append(mark.encode(x=x, y=y))
    if chance is not None:
        layers.append(_rule(chance, "chance"))
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _gradient_norms(steps: pl.DataFrame, x: alt.X, clip_norm: float | None) -> Any:
    finite = steps.filter(pl.col("grad_norm").is_finite() & (pl.col("grad_norm") > 0))
    line = _line(finite, "grad_norm", x, "gradient norm", alt.Scale(type="log"))
    if clip_norm is None:
        return line
    return alt.layer(line, _rule(clip_norm, "clip_norm")).properties(width=WIDTH, height=HEIGHT)


def _metric(evals: pl.DataFrame, metric: str, curve: str) -> pl.DataFrame:
    return evals.filter(pl.col("metric") == metric).select("step", "value", curve=pl.lit(curve))


def _coloured(curves: pl.DataFrame, x: alt.X, y: alt.Y) -> Any:
    names = [name for name in _COLOURS if name in set(curves["curve"])]
    scale = alt.Scale(domain=names, range=[_COLOURS[name] for name in names])
    color = alt.Color("curve:N", title=None, scale=scale, legend=alt.Legend(orient="top-right"))
    chart = alt.Chart(curves).mark_line(strokeWidth=1.5, clip=True)
    return chart.encode(x=x, y=y, color=color, tooltip=["curve", "step", "value"]).properties(
        width=WIDTH, height=HEIGHT
    )


def _line(table: pl.DataFrame, column: str, x: alt.X, title: str, scale: alt.Scale) -> Any:
    chart = alt.Chart(table.select("step", column)).mark_line(strokeWidth=1, color="#4c78a8", clip=True)
    y = alt.Y(f"{column}:Q", title=title, scale=scale, axis=alt.Axis(tickCount=4))
    return chart.encode(x=x, y=y, tooltip=["step", column]).properties(width=WIDTH, height=HEIGHT)


def _rule(value: float, label: str) -> Any:
    data = pl.DataFrame({"value": [value], "label": [label]})
    base = alt.Chart(data).encode(y="value:Q")
    line = base.mark_rule(strokeDash=[5, 4], color="#888888")
    text = base.mark_text(align="left", baseline="bottom", dx=4, color="#888888").encode(x=alt.value(0), text="label:N")
    return line + text
