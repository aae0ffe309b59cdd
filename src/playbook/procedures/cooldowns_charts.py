"""The evidence of cooldowns as pictures: quality against length, the curves of the run and its branches, the rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from playbook.config import ObjectiveConfig
from playbook.procedures.lengths import Length, Reading
from playbook.report.charts.chart import Chart, Rows
from playbook.report.charts.palette import INFEASIBLE, QUIET, colour_of
from playbook.report.charts.thinning import thin
from playbook.report.charts.ticks import STEPS as STEPS_AXIS
from playbook.report.charts.ticks import number_axis
from playbook.run_files import EVALS, STEPS, Result, read_table

WIDTH, HEIGHT = 560, 240
MAX_POINTS = 400
"""Of a line: more than the eye tells apart at this width."""
ERRORS = 1.96
"""Standard errors of a 95 % interval."""


@dataclass(frozen=True)
class Branch:
    """A decay off the commit at step `commit`; `length` leaves out the `warmup` steps."""

    folder: Path
    commit: int
    warmup: int
    length: Length
    result: Result | None

    @property
    def total(self) -> int:
        """Steps from step 0 on."""
        return self.warmup + self.length.steps


def cooldowns_charts(
    trunk: Path, branches: Sequence[Branch], reading: Reading, objective: ObjectiveConfig
) -> list[Chart]:
    """Quality against length; by how much each is worse than the longest; the objective and the rate over steps."""
    charts = [_quality(branches, reading, objective)]
    if any(each.low is not None for each in reading.differences):
        charts.append(_differences(reading, objective))
    return [*charts, _curves(trunk, branches, objective), _rates(trunk, branches)]


def _quality(branches: Sequence[Branch], reading: Reading, objective: ObjectiveConfig) -> Chart:
    points, failed = [], []
    for each in branches:
        if each.result is None or each.result.objective is None:
            failed.append({"steps": each.length.steps})
            continue
        value, half = each.result.objective, ERRORS * (each.result.objective_se or 0.0)
        points.append({"steps": each.length.steps, "value": value, "low": value - half, "high": value + half})
    data: dict[str, Rows] = {"lengths": points}
    ends = [each.length.steps for each in branches]
    low, high = min(ends), max(ends) * (2 if reading.outlook else 1)
    scale = alt.Scale(type="log", domain=[low / 1.1, high * 1.1], nice=False)
    x = alt.X("steps:Q", title="max_steps", scale=scale, axis=alt.Axis(**number_axis("log", low / 1.1, high * 1.1)))
    y = alt.Y("value:Q", title=objective.metric, scale=alt.Scale(zero=False))
    base = alt.Chart(alt.NamedData(name="lengths"))
    layers: list[Any] = []
    caption = f"Each point is a run of its own length; {objective.metric} is {objective.mode}imised."
    if any(each["low"] < each["value"] for each in points):
        layers.append(base.mark_rule(color=QUIET, strokeWidth=1.5).encode(x=x, y=alt.Y("low:Q"), y2="high:Q"))
        caption += " Bars: 95 % over the validation examples, which all points share; the next chart is paired."
    if reading.outlook is not None:
        sign = 1 if objective.mode == "min" else -1
        data["law"] = [{"steps": steps, "value": sign * loss} for steps, loss in reading.outlook.points]
        law = alt.Chart(alt.NamedData(name="law")).mark_line(color=QUIET, strokeDash=[5, 4], strokeWidth=1.5)
        layers.append(law.encode(x=x, y=y))
        caption += " Dashed: a power law with a floor, as far as twice the longest."
    layers.append(base.mark_point(color=colour_of(0), filled=True, size=80, opacity=1).encode(x=x, y=y))
    if failed:
        data["failed"] = failed
        cross = alt.Chart(alt.NamedData(name="failed")).mark_point(shape="cross", color=INFEASIBLE, size=90, angle=45)
        layers.append(cross.encode(x=x, y=alt.value(8)))
        caption += " A cross is an infeasible one."
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return Chart("quality", "Quality against length", "cooldowns", chart.to_dict(), caption, data)


def _differences(reading: Reading, objective: ObjectiveConfig) -> Chart:
    rows = [vars(each) for each in reading.differences if each.low is not None]
    ends = [each["steps"] for each in rows]
    low, high = min(ends) / 1.1, max(ends) * 1.1
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x = alt.X("steps:Q", title="max_steps", scale=scale, axis=alt.Axis(**number_axis("log", low, high)))
    base = alt.Chart(alt.NamedData(name="differences"))
    title = f"worse in {objective.metric} by"
    y = alt.Y("worse:Q", title=title)
    zero = alt.Chart(alt.NamedData(name="zero")).mark_rule(strokeDash=[5, 4], color=QUIET, strokeWidth=1.5)
    chart = alt.layer(
        zero.encode(y=alt.Y("worse:Q")),
        base.mark_rule(color=colour_of(0), strokeWidth=2).encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q"),
        base.mark_point(color=colour_of(0), filled=True, size=70, opacity=1).encode(x=x, y=y),
    ).properties(width=WIDTH, height=HEIGHT)
    caption = "95 % intervals of the difference, over the examples (paired) and the scatter of the lengths."
    data: dict[str, Rows] = {"differences": rows, "zero": [{"worse": 0.0}]}
    return Chart("differences", "Each length against the longest", "cooldowns", chart.to_dict(), caption, data)


def _curves(trunk: Path, branches: Sequence[Branch], objective: ObjectiveConfig) -> Chart:
    def curve(folder: Path, name: str, since: int) -> pl.DataFrame:
        found = read_table(folder, EVALS).filter((pl.col("metric") == objective.metric) & (pl.col("step") >= since))
        return found.select("step", "value", run=pl.lit(name))

    tables = [curve(trunk, "constant", 0)]
    tables += [curve(each.folder, f"{each.length.steps:,}", each.commit) for each in branches]
    rows = _rows(pl.concat(tables))
    best = [each["value"] for each in rows if each["step"] > 0]
    low, high = min(best, default=0.0), max(best, default=1.0)
    margin = 0.05 * (high - low) or 1.0
    y = alt.Y("value:Q", title=objective.metric, scale=alt.Scale(domain=[low - margin, high + margin], nice=False))
    caption = "The run at a constant rate, and the decay off each commit. Step 0 may lie beyond the axis."
    return _lines("curves", "The run and its branches", rows, y, caption)


def _rates(trunk: Path, branches: Sequence[Branch]) -> Chart:
    def rate(folder: Path, name: str, since: int) -> pl.DataFrame:
        found = read_table(folder, STEPS).filter(pl.col("step") >= since)
        return found.select("step", value=pl.col("lr"), run=pl.lit(name))

    tables = [rate(trunk, "constant", 0)]
    tables += [rate(each.folder, f"{each.length.steps:,}", each.commit - 1) for each in branches]
    rows = _rows(pl.concat(tables))
    y = alt.Y("value:Q", title="learning rate", scale=alt.Scale(zero=True))
    return _lines("rates", "The learning rate", rows, y, "As it was recorded, step by step.")


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return thin(table.filter(pl.col("value").is_finite()), ["run"], "value", MAX_POINTS).to_dicts()


def _lines(name: str, title: str, rows: Rows, y: alt.Y, caption: str) -> Chart:
    names = list(dict.fromkeys(str(each["run"]) for each in rows))
    colours = [QUIET, *(colour_of(place) for place in range(len(names) - 1))]
    colour = alt.Color("run:N", title="run", scale=alt.Scale(domain=names, range=colours), sort=names)
    last = max((each["step"] for each in rows), default=1)
    scale = alt.Scale(domain=[0, last], nice=False)
    x = alt.X("step:Q", title="step", scale=scale, axis=alt.Axis(**STEPS_AXIS))
    base = alt.Chart(alt.NamedData(name=name)).mark_line(strokeWidth=1.6, clip=True)
    chart = base.encode(x=x, y=y, color=colour).properties(width=WIDTH, height=HEIGHT)
    return Chart(name, title, "cooldowns", chart.to_dict(), caption, {name: rows})
