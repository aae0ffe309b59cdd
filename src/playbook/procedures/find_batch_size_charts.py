"""Throughput over batch sizes as pictures: how it grows, and what the seconds of a step go to."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from playbook.analysis.throughput import Scaling, Size
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import QUIET, colour_of
from playbook.report.charts.ticks import number_axis

WIDTH, HEIGHT = 560, 260
PARTS = {"compute": 0, "fixed": 5, "input": 1, "synchronisation": 3}
"""The parts of a step and the places of their colours."""


def batch_size_charts(sizes: Sequence[Size], found: Scaling) -> list[Chart]:
    """Throughput with its quartiles over the batch size, and the parts of a step."""
    return [_throughput(sizes, found), _parts(sizes, found)]


def _throughput(sizes: Sequence[Size], found: Scaling) -> Chart:
    rows = []
    for size in sizes:
        slow, fast = size.quartiles[1], size.quartiles[0]
        rows.append(
            {
                "batch_size": size.batch_size,
                "throughput": size.throughput,
                "low": size.batch_size / slow,
                "high": size.batch_size / fast,
            }
        )
    first = sizes[0]
    top = 1.5 * max(row["high"] for row in rows)
    ideal = [
        {"batch_size": size.batch_size, "throughput": first.throughput * size.batch_size / first.batch_size}
        for size in sizes
    ]
    domain = [min(row["low"] for row in rows) / 1.3, top]
    x = _size_axis(sizes)
    axis = alt.Axis(**number_axis("log", *domain))
    scale = alt.Scale(type="log", domain=domain, nice=False)
    y = alt.Y("throughput:Q", title="examples/s", axis=axis, scale=scale)
    layers = [
        _layer("ideal").mark_line(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5, clip=True).encode(x=x, y=y),
        _layer("sizes").mark_line(color=colour_of(0), strokeWidth=1.5, opacity=0.5).encode(x=x, y=y),
        _layer("sizes").mark_rule(color=colour_of(0), strokeWidth=2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"),
        _layer("sizes").mark_point(filled=True, size=70, color=colour_of(0), opacity=1).encode(x=x, y=y),
        _layer("knee").mark_point(size=260, color=colour_of(1), strokeWidth=2.5, opacity=1).encode(x=x, y=y),
    ]
    data: dict[str, Rows] = {
        "sizes": rows,
        "ideal": ideal,
        "knee": [{"batch_size": found.knee.batch_size, "throughput": found.knee.throughput}],
    }
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    caption = (
        "Median and quartiles of blocks of steps. Dashed: twice the batch, twice the throughput. Ringed: the choice."
    )
    return Chart("throughput", "Throughput", "batch_size", chart.to_dict(), caption, data)


def _parts(sizes: Sequence[Size], found: Scaling) -> Chart:
    names = {"fixed": "by itself", "compute": "per example", "input": "data", "synchronisation": "devices"}
    shown = [name for name in names if any(getattr(each, name) > 0 for each in found.parts.values())]
    rows = [
        {
            "batch_size": str(size.batch_size),
            "part": names[name],
            "share": getattr(found.parts[size.batch_size], name) / found.parts[size.batch_size].total,
        }
        for size in sizes
        for name in shown
    ]
    colour = alt.Color(
        "part:N",
        title=None,
        scale=alt.Scale(domain=[names[n] for n in shown], range=[colour_of(PARTS[n]) for n in shown]),
    )
    order = [str(size.batch_size) for size in sizes]
    x = alt.X("batch_size:N", title="batch_size", sort=order, axis=alt.Axis(labelAngle=0))
    y = alt.Y("share:Q", title="of a step", stack="zero", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1]))
    chart = _layer("parts").mark_bar(opacity=1).encode(x=x, y=y, color=colour).properties(width=WIDTH, height=HEIGHT)
    caption = (
        "What a step takes however small its batch, what each example adds (a line through the sizes), and waiting for"
        " data as it was measured."
    )
    return Chart("parts", "What a step's time goes to", "batch_size", chart.to_dict(), caption, {"parts": rows})


def _size_axis(sizes: Sequence[Size]) -> alt.X:
    values = [size.batch_size for size in sizes]
    domain = [values[0] / 1.3, values[-1] * 1.3]
    axis = alt.Axis(values=values, format="d", labelOverlap=True)
    return alt.X("batch_size:Q", title="batch_size", axis=axis, scale=alt.Scale(type="log", domain=domain, nice=False))


def _layer(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=name))
