"""Best of n against n: box plots of what a study of n trials would have found, with their expectation (B6, E4, F3), in
bands of where the median best of n lies over all trials that there could be.
"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from playbook.analysis.repeats import noun
from playbook.analysis.rules.best_of_n import bands, box_plots, sizes, values_of
from playbook.analysis.tables import Tables
from playbook.report.charts.arms import arm_colour, colours, drawn, of_how_many
from playbook.report.charts.axis_plots import objective_title
from playbook.report.charts.chart import Chart
from playbook.report.charts.objective_axis import ObjectiveAxis, objective_axis
from playbook.report.charts.palette import INK

BAND = "where the median best of n lies over all that there could be, for every n at once, in 80 % of studies."
MOST_BANDS = 3
"""Arms of a chart whose bands can be told apart; of more they are fainter."""
WIDTH, HEIGHT = 300, 200


def best_of_n_plots(tables: Tables) -> list[Chart]:
    """A box plot for each arm, and a chart of all their medians where there are several."""
    boxes = {arm: _boxes(tables, arm) for arm in drawn(tables)}
    boxes = {arm: table for arm, table in boxes.items() if len(table) > 1}
    charts = []
    if len(boxes) > 1:
        rows = pl.concat([table.with_columns(pl.lit(arm).alias("arm")) for arm, table in boxes.items()])
        axis = objective_axis([*rows["median"], *rows["lower"]], tables.objective.mode)
        specification = _medians(tables, axis, tuple(boxes)).to_dict()
        caption = (
            f"Line: the median best of n of these. Band: {BAND} Infeasible ones count as the worst."
            f"{of_how_many(tables)}"
        )
        data = {"best_of_n": _within(rows, axis)}
        charts.append(Chart("best_of_n", f"Best of n {noun(tables)}", "enough", specification, caption, data))
    for place, (arm, table) in enumerate(boxes.items()):
        name = "best_of_n" if len(boxes) == 1 else f"best_of_n_{place}"
        shown = [value for column in ("low", "lower", "median", "upper", "expected") for value in table[column]]
        axis = objective_axis(shown, tables.objective.mode)
        specification = _box_plot(tables, name, axis, colours(tables)[arm]).to_dict()
        title = f"Best of n {noun(tables)}" + ("" if len(boxes) == 1 else f", {arm}")
        caption = (
            "Box: the middle half of studies of n drawn from these; whiskers: 5 % to 95 %; dashed: the expectation."
            f" Exact, not simulated. Grey: {BAND}"
        )
        data = {name: _within(table, axis)}
        charts.append(Chart(name, title, "enough", specification, caption if place == 0 else "", data))
    return charts


def _boxes(tables: Tables, arm: str) -> pl.DataFrame:
    values, mode = values_of(tables, arm), tables.objective.mode
    if not values:
        return pl.DataFrame()
    n = sizes(len(values))
    band = bands(values, n, mode).select("n", band_low="low", band_high="high")
    return box_plots(values, n, mode).join(band, on="n", maintain_order="left")


def _within(table: pl.DataFrame, axis: ObjectiveAxis) -> list[dict[str, Any]]:
    """The rows, with the band as it is drawn: up to the axis' end where these trials do not say how far it goes."""
    return [
        row
        | {
            "band_from": axis.low if row["band_low"] is None else axis.place(row["band_low"]),
            "band_to": axis.high if row["band_high"] is None else axis.place(row["band_high"]),
        }
        for row in table.iter_rows(named=True)
    ]


def _y(tables: Tables, column: str, axis: ObjectiveAxis) -> alt.Y:
    # From a single trial on the quartiles may be monstrous: what is beyond the axis is cut off.
    scale = alt.Scale(**axis.vega_scale(), clamp=True)
    return alt.Y(f"{column}:Q", title=objective_title(tables), scale=scale, axis=alt.Axis(**axis.vega_axis()))


def _tooltip(*numbers: str) -> list[Any]:
    return ["n:Q", *(alt.Tooltip(f"{key}:Q", title=key.replace("_", " "), format=".4~g") for key in numbers)]


def _medians(tables: Tables, axis: ObjectiveAxis, arms: tuple[str, ...]) -> Any:
    x = alt.X(
        "n:Q", title=noun(tables), scale=alt.Scale(zero=False, nice=False), axis=alt.Axis(tickMinStep=1, format="d")
    )
    columns = 1 if len(arms) < 4 else 2
    base = alt.Chart(alt.NamedData(name="best_of_n")).encode(
        x=x, color=arm_colour(tables, arms, orient="top", columns=columns, symbolOpacity=1)
    )
    band = base.mark_area(opacity=0.14 if len(arms) <= MOST_BANDS else 0.05).encode(
        y=_y(tables, "band_from", axis), y2="band_to:Q"
    )
    lines = base.mark_line(point=alt.OverlayMarkDef(size=16), strokeWidth=1.6).encode(
        y=_y(tables, "median", axis), tooltip=["arm:N", *_tooltip("median", "band_low", "band_high")]
    )
    return alt.layer(band, lines).properties(width=WIDTH, height=HEIGHT + 10 * len(arms) // columns)


def _box_plot(tables: Tables, name: str, axis: ObjectiveAxis, colour: str) -> Any:
    x = alt.X("n:O", title=noun(tables), axis=alt.Axis(labelAngle=0, labelOverlap=True, labelSeparation=5))
    tooltip = _tooltip("low", "lower", "median", "upper", "high", "expected", "band_low", "band_high")
    base = alt.Chart(alt.NamedData(name=name)).encode(x=x)
    width = alt.RelativeBandSize(band=0.6)

    def y(column: str) -> alt.Y:
        return _y(tables, column, axis)

    band = base.mark_area(color=INK, opacity=0.09).encode(y=y("band_from"), y2="band_to:Q")
    whiskers = base.mark_rule(color=colour, opacity=0.7).encode(y=y("low"), y2="high:Q")
    box = base.mark_bar(color=colour, opacity=0.45, width=width).encode(y=y("lower"), y2="upper:Q", tooltip=tooltip)
    middle = base.mark_tick(color=colour, thickness=2, width=width).encode(y=y("median"), tooltip=tooltip)
    line = base.mark_line(color=colour, strokeWidth=1.4, strokeDash=[3, 2]).encode(y=y("expected"))
    return alt.layer(band, whiskers, box, middle, line).properties(width=WIDTH, height=HEIGHT)
