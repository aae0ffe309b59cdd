"""Best of n against n: box plots of what a study of n trials would have found, and its expectation (B6, E4, F3)."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from playbook.analysis.repeats import noun
from playbook.analysis.rules.best_of_n import box_plots, sizes, values_of
from playbook.analysis.tables import Tables
from playbook.report.charts.arms import arm_colour, colours, drawn, of_how_many
from playbook.report.charts.axis_plots import objective_title
from playbook.report.charts.chart import Chart
from playbook.report.charts.objective_axis import objective_axis

MOST_BANDS = 3
"""Arms of a chart whose bands can be told apart; of more they are fainter."""
WIDTH, HEIGHT = 300, 200


def best_of_n_plots(tables: Tables) -> list[Chart]:
    """A box plot for each arm, and a chart of all their expectations where there are several."""
    boxes = {arm: _boxes(tables, arm) for arm in drawn(tables)}
    boxes = {arm: table for arm, table in boxes.items() if len(table) > 1}
    charts = []
    if len(boxes) > 1:
        rows = pl.concat([table.with_columns(pl.lit(arm).alias("arm")) for arm, table in boxes.items()])
        specification = _expectations(tables, rows, tuple(boxes)).to_dict()
        caption = (
            "The expected best of n, without replacement (exact), and the middle half of studies of that size."
            f" Infeasible ones count as the worst.{of_how_many(tables)}"
        )
        data = {"best_of_n": rows.to_dicts()}
        charts.append(Chart("best_of_n", f"Expected best of n {noun(tables)}", "enough", specification, caption, data))
    for place, (arm, table) in enumerate(boxes.items()):
        name = "best_of_n" if len(boxes) == 1 else f"best_of_n_{place}"
        specification = _box_plot(tables, name, table, colours(tables)[arm]).to_dict()
        title = f"Best of n {noun(tables)}" + ("" if len(boxes) == 1 else f", {arm}")
        caption = (
            "Box: the middle half of studies of n drawn from these; whiskers: 5 % to 95 %; line: the"
            " expectation. Exact, not simulated."
        )
        data = {name: table.to_dicts()}
        charts.append(Chart(name, title, "enough", specification, caption if place == 0 else "", data))
    return charts


def _boxes(tables: Tables, arm: str) -> pl.DataFrame:
    values = values_of(tables, arm)
    return box_plots(values, sizes(len(values)), tables.objective.mode) if values else pl.DataFrame()


def _y(tables: Tables, column: str, values: list[float]) -> alt.Y:
    axis = objective_axis(values, tables.objective.mode)
    # From a single trial on the quartiles may be monstrous: what is beyond the axis is cut off.
    scale = alt.Scale(**axis.vega_scale(), clamp=True)
    return alt.Y(f"{column}:Q", title=objective_title(tables), scale=scale, axis=alt.Axis(**axis.vega_axis()))


def _expectations(tables: Tables, rows: pl.DataFrame, arms: tuple[str, ...]) -> Any:
    x = alt.X(
        "n:Q", title=noun(tables), scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickMinStep=1, format="d")
    )
    columns = 1 if len(arms) < 4 else 2
    base = alt.Chart(alt.NamedData(name="best_of_n")).encode(
        x=x, color=arm_colour(tables, arms, orient="top", columns=columns, symbolOpacity=1)
    )
    shown = rows["expected"].to_list()
    band = base.mark_area(opacity=0.14 if len(arms) <= MOST_BANDS else 0.06, clip=True).encode(
        y=_y(tables, "lower", shown), y2="upper:Q"
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=16), strokeWidth=1.6).encode(
        y=_y(tables, "expected", shown),
        tooltip=["arm:N", "n:Q", *(alt.Tooltip(f"{key}:Q", format=".4~g") for key in ("expected", "lower", "upper"))],
    )
    return alt.layer(band, lines).properties(width=WIDTH, height=HEIGHT + 10 * len(arms) // columns)


def _box_plot(tables: Tables, name: str, table: pl.DataFrame, colour: str) -> Any:
    drawn = [value for column in ("low", "lower", "median", "upper", "expected") for value in table[column]]
    x = alt.X("n:O", title=noun(tables), axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=5))
    numbers = ("low", "lower", "median", "upper", "high", "expected")
    tooltip = ["n:Q", *(alt.Tooltip(f"{key}:Q", format=".4~g") for key in numbers)]
    base = alt.Chart(alt.NamedData(name=name)).encode(x=x)
    width = alt.RelativeBandSize(band=0.6)

    def y(column: str) -> alt.Y:
        return _y(tables, column, drawn)

    whiskers = base.mark_rule(color=colour, opacity=0.7).encode(y=y("low"), y2="high:Q")
    box = base.mark_bar(color=colour, opacity=0.45, width=width).encode(y=y("lower"), y2="upper:Q", tooltip=tooltip)
    middle = base.mark_tick(color=colour, thickness=2, width=width).encode(y=y("median"), tooltip=tooltip)
    line = base.mark_line(color=colour, strokeWidth=1.4, strokeDash=[3, 2]).encode(y=y("expected"))
    return alt.layer(whiskers, box, middle, line).properties(width=WIDTH, height=HEIGHT)
