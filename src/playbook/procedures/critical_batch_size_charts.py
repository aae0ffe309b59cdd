"""The evidence on the critical batch size as pictures: steps, learning rates and time to the target by batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from playbook.analysis.critical_batch_size import ScalingFit
from playbook.procedures.critical_batch_size_reading import Size
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import INFEASIBLE, QUIET, SERIES, colour_of
from playbook.report.charts.ticks import number_axis

WIDTH, HEIGHT = 560, 300
POINTS = 81
REGIME_COLOURS = {"perfect scaling": SERIES[2], "diminishing": SERIES[1], "flat": SERIES[0], "not told": QUIET}
REGIME_SHAPES = ["circle", "triangle", "square", "diamond"]


def charts(sizes: Sequence[Size], fit: ScalingFit | None, target: str, num_devices: int) -> list[Chart]:
    """Steps with the fit; steps by learning rate; the best learning rate; time. Those without a point are left out."""
    reached = [size for size in sizes if size.steps is not None]
    if not reached:
        return []
    found = [_steps(sizes, fit, target), _by_lr(reached, target), _best_lr(reached)]
    if any(size.seconds is not None for size in reached):
        found.append(_seconds(reached, target, num_devices))
    return found


def _x(sizes: Sequence[Size]) -> alt.X:
    values = [size.batch_size for size in sizes]
    low, high = min(values) / 1.3, max(values) * 1.3
    axis = alt.Axis(values=values, labelOverlap=True, format="d")
    return alt.X("batch_size:Q", title="batch size", scale=alt.Scale(type="log", domain=[low, high]), axis=axis)


def _y(field: str, title: str, values: Sequence[float]) -> alt.Y:
    low, high = min(values) / 1.25, max(values) * 1.25
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(**number_axis("log", low, high)))


def _steps(sizes: Sequence[Size], fit: ScalingFit | None, target: str) -> Chart:
    data: dict[str, Rows] = {}
    rows: list[dict[str, Any]] = []
    layers: list[Any] = []
    for size in sizes:
        regimes = () if fit is None or size.left_out else fit.regimes(size.batch_size)
        regime = regimes[0] if len(regimes) == 1 else "not told"
        if size.steps is not None:
            rows.append({"batch_size": size.batch_size, "steps": size.steps, "regime": regime})
    values = [row["steps"] for row in rows]
    not_reached = [
        {"batch_size": size.batch_size, "steps": size.max_steps} for size in sizes if size.left_out and not size.best
    ]
    left_out = [{"batch_size": size.batch_size, "steps": size.steps} for size in sizes if size.left_out and size.best]
    values += [row["steps"] for row in not_reached]
    caption = f"Training steps until {target}, of the best learning rate at each batch size."
    if fit is not None:
        low, high = min(s.batch_size for s in sizes) / 1.3, max(s.batch_size for s in sizes) * 1.3
        at = np.geomspace(low, high, POINTS)
        lows, highs = fit.band(list(at))
        data["fit"] = [
            {"batch_size": size, "steps": steps, "low": below, "high": above}
            for size, steps, below, above in zip(
                at.tolist(), fit.predicted(list(at)).tolist(), lows.tolist(), highs.tolist(), strict=True
            )
        ]
        values += [fit.a, *lows.tolist(), *highs.tolist()]
        data["perfect"] = [
            {"batch_size": size, "steps": fit.b / size} for size in (low, min(high, fit.b / min(values)))
        ]
        data["fewest"] = [{"steps": fit.a}]
        caption += (
            " Line and band: the fit S = a + b/B with 95 %; dashed: perfect scaling b/B, and the fewest steps a, which"
            " cross at the critical batch size b/a."
        )
    x, y = _x(sizes), _y("steps", "steps to the target", values)
    if fit is not None:
        balance, (low, high) = (
            fit.balance,
            (min(s.batch_size for s in sizes) / 1.3, max(s.batch_size for s in sizes) * 1.3),
        )
        base = alt.Chart(alt.NamedData(name="fit"))
        if low <= balance.value <= high:
            ends = {"low": max(balance.low, low), "high": min(balance.high, high), "batch_size": balance.value}
            data["balance"] = [ends]
            mark = alt.Chart(alt.NamedData(name="balance"))
            layers.append(mark.mark_rect(opacity=0.12, color=QUIET).encode(x=alt.X("low:Q"), x2="high:Q"))
            layers.append(mark.mark_rule(color=QUIET, strokeWidth=1.5).encode(x=x))
            caption += " Grey: b/a and its interval."
        layers += [
            base.mark_area(opacity=0.18, color=colour_of(0)).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
            base.mark_line(color=colour_of(0), strokeWidth=2).encode(x=x, y=y),
            alt.Chart(alt.NamedData(name="perfect"))
            .mark_line(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5, clip=True)
            .encode(x=x, y=y),
            alt.Chart(alt.NamedData(name="fewest"))
            .mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5)
            .encode(y=y),
        ]
    names = list(REGIME_COLOURS)
    colour = alt.Color("regime:N", title=None, scale=alt.Scale(domain=names, range=list(REGIME_COLOURS.values())))
    shape = alt.Shape("regime:N", title=None, scale=alt.Scale(domain=names, range=REGIME_SHAPES))
    points = alt.Chart(alt.NamedData(name="steps")).mark_point(filled=True, size=110, opacity=1)
    layers.append(points.encode(x=x, y=y, color=colour, shape=shape))
    data["steps"] = rows
    if left_out:
        cross = alt.Chart(alt.NamedData(name="left_out")).mark_point(
            shape="cross", angle=45, color=INFEASIBLE, size=140
        )
        layers.append(cross.encode(x=x, y=y))
        data["left_out"] = left_out
        caption += " Crossed out: not fitted, as the best learning rate lies at the edge of those tried."
    if not_reached:
        arrow = alt.Chart(alt.NamedData(name="not_reached")).mark_point(shape="triangle-up", color=INFEASIBLE, size=110)
        layers.append(arrow.encode(x=x, y=y))
        data["not_reached"] = not_reached
        caption += " Red triangles: the target was not reached in so many steps."
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return Chart("steps", "Steps to the target by batch size", "critical batch size", chart.to_dict(), caption, data)


def _by_lr(sizes: Sequence[Size], target: str) -> Chart:
    rows: list[dict[str, Any]] = [
        {"batch_size": str(size.batch_size), "lr": each.lr, "steps": each.reached.steps}
        for size in sizes
        for each in size.attempts
        if each.reached is not None
    ]
    best = [
        {"batch_size": str(size.batch_size), "lr": size.best.lr, "steps": size.steps} for size in sizes if size.best
    ]
    lrs = [each.lr for size in sizes for each in size.attempts]
    x = _lr_axis(alt.X, "lr", lrs)
    y = _y("steps", "steps to the target", [row["steps"] for row in rows])
    order = [str(size.batch_size) for size in sizes]
    scale = alt.Scale(domain=order, scheme="viridis")
    colour = alt.Color("batch_size:O", title="batch size", sort=order, scale=scale)
    base = alt.Chart(alt.NamedData(name="attempts")).encode(x=x, y=y, color=colour)
    star = alt.Chart(alt.NamedData(name="best")).mark_point(filled=True, size=130, opacity=1, shape="diamond")
    chart = alt.layer(
        base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=40), star.encode(x=x, y=y, color=colour)
    ).properties(width=WIDTH, height=HEIGHT)
    tried = sum(len(size.attempts) for size in sizes)
    caption = (
        f"Each learning rate that reached the target ({len(rows)} of {tried}); diamonds: the best of a batch size,"
        " which must not be the first or the last that was tried."
    )
    data: dict[str, Rows] = {"attempts": rows, "best": best}
    return Chart("lr", f"Steps until {target} by learning rate", "critical batch size", chart.to_dict(), caption, data)


def _best_lr(sizes: Sequence[Size]) -> Chart:
    rows: list[dict[str, Any]] = []
    for size in sizes:
        lrs = [each.lr for each in size.attempts]
        assert size.best is not None
        edge = "at the edge" if size.edge else "inside"
        rows.append(
            {"batch_size": size.batch_size, "lr": size.best.lr, "low": min(lrs), "high": max(lrs), "edge": edge}
        )
    ends = [row[key] for row in rows for key in ("low", "high")]
    first, last = rows[0], rows[-1]
    middle = rows[len(rows) // 2]
    guides = [
        {
            "batch_size": end["batch_size"],
            "lr": middle["lr"] * (end["batch_size"] / middle["batch_size"]) ** power,
            "rule": rule,
        }
        for rule, power in (("lr ∝ batch size", 1.0), ("lr ∝ √batch size", 0.5))
        for end in (first, last)
    ]
    x = _x(sizes)
    y = _lr_axis(alt.Y, "lr", ends)
    base = alt.Chart(alt.NamedData(name="rates"))
    shape = alt.Shape(
        "edge:N", title=None, scale=alt.Scale(domain=["inside", "at the edge"], range=["circle", "cross"])
    )
    dash = alt.StrokeDash("rule:N", title=None, scale=alt.Scale(range=[[2, 3], [6, 4]]))
    lines = alt.Chart(alt.NamedData(name="guides")).mark_line(color=QUIET, strokeWidth=1.5, clip=True)
    chart = alt.layer(
        lines.encode(x=x, y=y, strokeDash=dash),
        base.mark_rule(color=QUIET, strokeWidth=2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
        base.mark_point(filled=True, size=110, color=colour_of(0), opacity=1).encode(x=x, y=y, shape=shape),
    ).properties(width=WIDTH, height=HEIGHT)
    caption = "The best learning rate of each batch size, within those that were tried; dashed: two rules of thumb."
    data: dict[str, Rows] = {"rates": rows, "guides": guides}
    return Chart(
        "best_lr", "The best learning rate by batch size", "critical batch size", chart.to_dict(), caption, data
    )


def _lr_axis(channel: Any, field: str, values: Sequence[float]) -> Any:
    low, high = min(values) / 1.2, max(values) * 1.2
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return channel(f"{field}:Q", title="lr", scale=scale, axis=alt.Axis(**number_axis("log", low, high)))


def _seconds(sizes: Sequence[Size], target: str, num_devices: int) -> Chart:
    what = ["time"] + (["device-seconds"] if num_devices > 1 else [])
    rows: list[dict[str, Any]] = [
        {"batch_size": size.batch_size, "seconds": size.seconds * times, "what": name}
        for size in sizes
        if size.seconds is not None and math.isfinite(size.seconds)
        for name, times in zip(what, (1, num_devices), strict=False)
    ]
    x, y = _x(sizes), _y("seconds", "seconds to the target", [row["seconds"] for row in rows])
    scale = alt.Scale(domain=what, range=[colour_of(0), colour_of(1)])
    legend = alt.Legend() if num_devices > 1 else None
    colour = alt.Color("what:N", title=None, scale=scale, legend=legend)
    base = alt.Chart(alt.NamedData(name="seconds")).encode(x=x, y=y, color=colour)
    chart = alt.layer(base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=90, opacity=1)).properties(
        width=WIDTH, height=HEIGHT
    )
    device = "on one device, so device-seconds are the same" if num_devices == 1 else f"on {num_devices} devices"
    caption = f"Steps to the target times the median time of a step, {device}; evaluations are not counted."
    return Chart("seconds", f"Time until {target}", "critical batch size", chart.to_dict(), caption, {"seconds": rows})
