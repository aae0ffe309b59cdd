"""The next round as pictures: the learning rate over both rounds, and where it was trained, what became of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from playbook.config import Config
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import colour_of
from playbook.report.charts.ticks import STEPS, number_axis

WIDTH, HEIGHT = 560, 260
POINTS = 200


def charts(
    before: Config, after: Config, objectives: Sequence[tuple[int, float, float | None]], metric: str
) -> list[Chart]:
    """`before` and `after` are the best setting's; `objectives` (trial, in the study, in the new round) of each."""
    found = [_schedules(before, after)]
    if any(value is not None for *_, value in objectives):
        found.append(_objectives(objectives, metric))
    return found


def _schedules(before: Config, after: Config) -> Chart:
    rows = [row for name, config in (("the study", before), ("the next round", after)) for row in _lrs(name, config)]
    names = ["the study", "the next round"]
    colour = alt.Color("round:N", title=None, scale=alt.Scale(domain=names, range=[colour_of(1), colour_of(0)]))
    dash = alt.StrokeDash("round:N", title=None, scale=alt.Scale(domain=names, range=[[6, 4], [1, 0]]))
    highest = max(row["lr"] for row in rows)
    y = alt.Y("lr:Q", title="lr", axis=alt.Axis(**number_axis("linear", 0, highest)))
    chart = (
        alt.Chart(alt.NamedData(name="schedules"))
        .mark_line(strokeWidth=2)
        .encode(x=alt.X("step:Q", title="step", axis=alt.Axis(**STEPS)), y=y, color=colour, strokeDash=dash)
        .properties(width=WIDTH, height=HEIGHT)
    )
    caption = "The learning rate of the study's best setting, then and in the next round."
    return Chart("schedule", "The schedule, extended", "next round", chart.to_dict(), caption, {"schedules": rows})


def _lrs(name: str, config: Config) -> list[dict[str, Any]]:
    from playbook.optim import learning_rate  # torch

    schedule, total = config.schedule.build(), config.total_steps
    edges = {config.warmup_steps, max(config.warmup_steps - 1, 0), total - 1}
    at = sorted(edges | {min(total - 1, place * total // POINTS) for place in range(POINTS)})
    length = {"max_steps": config.max_steps, "warmup_steps": config.warmup_steps}
    return [
        {"round": name, "step": step, "lr": learning_rate(step, lr=config.lr, schedule=schedule, **length)}
        for step in at
    ]


def _objectives(objectives: Sequence[tuple[int, float, float | None]], metric: str) -> Chart:
    rows: list[dict[str, Any]] = []
    for trial, before, after in objectives:
        rows.append({"trial": str(trial), "round": "the study", "value": before})
        if after is not None:
            rows.append({"trial": str(trial), "round": "the next round", "value": after})
    values = [row["value"] for row in rows]
    axis = alt.Axis(**number_axis("linear", min(values), max(values)))
    x = alt.X("round:N", title=None, sort=["the study", "the next round"], axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title=metric, scale=alt.Scale(zero=False), axis=axis)
    order = [str(trial) for trial, *_ in objectives]
    scale = alt.Scale(domain=order, range=[colour_of(place) for place in range(len(order))])
    colour = alt.Color("trial:N", title="trial of the study", sort=order, scale=scale)
    base = alt.Chart(alt.NamedData(name="objectives")).encode(x=x, y=y, color=colour)
    chart = alt.layer(base.mark_line(strokeWidth=1.5), base.mark_point(filled=True, size=80)).properties(
        width=300, height=HEIGHT
    )
    data: dict[str, Rows] = {"objectives": rows}
    caption = "Each setting in both rounds: where lines cross, the short round misled."
    return Chart("rounds", "Before and after", "next round", chart.to_dict(), caption, data)
