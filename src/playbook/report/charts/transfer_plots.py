"""Whether the best lr of a small model serves a larger one (G3): each size's valley, and how its bottom drifts."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from playbook.analysis.repeats import trained_settings
from playbook.analysis.rules.transfer import Transfer, transfers
from playbook.analysis.tables import Tables
from playbook.report.charts.axis_plots import objective_title
from playbook.report.charts.chart import Chart, file_name
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.palette import SERIES
from playbook.report.charts.ticks import log_ticks, number_axis
from playbook.text import brief

WIDTH, HEIGHT = 300, 200


def transfer_plots(tables: Tables) -> list[Chart]:
    """The objective over lr for each family, a curve a size; and for each kind of size lr* over it."""
    found = transfers(tables)
    charts = [_valleys(tables, each, f"valleys_{place}") for place, each in enumerate(found)]
    for place, key in enumerate(dict.fromkeys(each.key for each in found)):
        drift = _drift(tuple(each for each in found if each.key == key), f"drift_{place}")
        charts += [] if drift is None else [drift]
    return charts


def _valleys(tables: Tables, found: Transfer, name: str) -> Chart:
    trials = tables.trials.select("trial", found.lr_key)
    lr_of = dict(trials.iter_rows())
    sizes = [brief(each.size) for each in found.best]
    rows: list[dict[str, Any]] = []
    for size, best in zip(sizes, found.best, strict=True):
        for each in trained_settings(tables, best.arm):
            rows.append({"size": size, "lr": lr_of[each.trial], "value": each.loss * tables.sign, "trial": each.trial})
    axis = objective_axis([row["value"] for row in rows], tables.objective.mode)
    rows = [row | {"y": axis.place(row["value"])} for row in rows]
    lrs = [row["lr"] for row in rows] or [1.0]
    x_axis = alt.Axis(**number_axis("log", min(lrs), max(lrs)))
    x = alt.X("lr:Q", title=found.lr_key, scale=alt.Scale(type="log", nice=False, padding=6), axis=x_axis)
    y = alt.Y(
        "y:Q", title=objective_title(tables), scale=alt.Scale(**axis.vega_scale()), axis=alt.Axis(**axis.vega_axis())
    )
    colour = _colour("size:N", sizes, found.key)
    base = alt.Chart(alt.NamedData(name=name))
    tooltip = ["size:N", "lr:Q", "value:Q", "trial:Q"]
    lines = base.mark_line(strokeWidth=1.2, opacity=0.6, clip=True).encode(x=x, y=y, color=colour)
    points = base.mark_point(filled=True, size=36, opacity=0.9, clip=True).encode(
        x=x, y=y, color=colour, tooltip=tooltip
    )
    best_lrs = alt.Chart(alt.NamedData(name=f"{name}_best")).mark_rule(strokeDash=[5, 4], strokeWidth=1.5)
    best = best_lrs.encode(x=alt.X("lr:Q", scale=alt.Scale(type="log")), color=colour)
    chart = alt.layer(lines, points, best).properties(width=WIDTH, height=HEIGHT)
    title = f"Over {found.lr_key}, by {found.key}" + (f", {found.family}" if found.family else "")
    data = {
        name: rows,
        f"{name}_best": [{"size": size, "lr": each.lr} for size, each in zip(sizes, found.best, strict=True)],
    }
    caption = f"Dashed: the {found.lr_key} at which a smooth curve through the trials is lowest."
    return Chart(f"transfer_{file_name(title)}", title, "isolation", chart.to_dict(), caption, data)


def _drift(found: tuple[Transfer, ...], name: str) -> Chart | None:
    rows = [
        {
            "family": each.family or "all",
            "size": best.size,
            "lr": best.lr,
            "low": best.interval[0],
            "high": best.interval[1],
        }
        for each in found
        for best in each.best
    ]
    if not rows:
        return None
    families = [each.family or "all" for each in found]
    sizes = sorted({best.size for each in found for best in each.best})
    ends = pl.DataFrame(rows).select(low=pl.col("low").min(), high=pl.col("high").max()).row(0)
    x_axis = alt.Axis(values=sizes, format="~g")
    domain = [sizes[0] / 1.3, sizes[-1] * 1.3]
    x = alt.X("size:Q", title=found[0].key, scale=alt.Scale(type="log", domain=domain, nice=False), axis=x_axis)
    y_axis = alt.Axis(**(number_axis("log", *ends) | {"values": log_ticks(*ends)}))
    scale = alt.Scale(type="log", nice=False, padding=6)
    colour = _colour("family:N", families, None)
    base = alt.Chart(alt.NamedData(name=name))
    tooltip = ["family:N", "size:Q", "lr:Q", "low:Q", "high:Q"]
    y = alt.Y("lr:Q", title=f"best {found[0].lr_key}", scale=scale, axis=y_axis)
    lines = base.mark_line(strokeWidth=1.2, opacity=0.6).encode(x=x, y=y, color=colour)
    bars = base.mark_rule(strokeWidth=2).encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=colour)
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, color=colour, tooltip=tooltip)
    chart = alt.layer(lines, bars, points).properties(width=WIDTH, height=HEIGHT)
    said = [
        f"{each.family or 'All'}: as {each.key}^{each.slope:.2f} ({each.interval[0]:.2f} to {each.interval[1]:.2f}),"
        f" {each.verdict}."
        for each in found
        if each.slope is not None and each.interval is not None
    ]
    title = f"The best {found[0].lr_key}, by {found[0].key}"
    caption = " ".join(["Bars: 95 % intervals.", *said])
    return Chart(f"transfer_{file_name(title)}", title, "isolation", chart.to_dict(), caption, {name: rows})


def _colour(field: str, names: list[str], title: str | None) -> alt.Color:
    colours = [SERIES[place % len(SERIES)] for place in range(len(names))]
    return alt.Color(field, title=title, scale=alt.Scale(domain=names, range=colours), legend=alt.Legend(orient="top"))
