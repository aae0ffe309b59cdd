"""All charts of a report, in the order of its page, and the data that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from playbook.analysis.tables import Tables
from playbook.report.charts.axes import axes
from playbook.report.charts.axis_plots import axis_plots
from playbook.report.charts.best_of_n_plot import best_of_n_plots
from playbook.report.charts.best_step_plot import best_step_plot
from playbook.report.charts.chart import Chart, Rows, with_names_apart
from playbook.report.charts.curves_plot import (
    Family,
    band_rows,
    curve_rows,
    curves_plot,
    families,
    shown_curves,
    thinned_curves,
)
from playbook.report.charts.gradient_norms_plot import gradient_norms_plots
from playbook.report.charts.importance_plot import importance_plot
from playbook.report.charts.isolation_plots import isolation_plots
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.rungs_plot import rungs_plot
from playbook.report.charts.thinning import evenly
from playbook.report.charts.transfer_plots import transfer_plots
from playbook.report.charts.trial_rows import has_intervals, setting_rows, trial_rows

MOST_IN_A_FILE = 2000
"""Trials of an SVG file: more are a blot, and a file of megabytes."""
FAINT_IN_A_FILE = 30


@dataclass(frozen=True)
class ReportCharts:
    """The charts in the order of the page, and what several of them draw: `trials` (`trial_rows`), `curves`.

    `families[k]` is drawn by the chart of the data set `curves_<k>`; `names` has the trials whose curves stand out,
    with the legend's name of each.
    """

    charts: tuple[Chart, ...]
    trials: Sequence[Mapping[str, Any]]
    curves: pl.DataFrame
    families: tuple[Family, ...]
    names: Mapping[int, str]

    @property
    def datasets(self) -> dict[str, Rows]:
        """The data sets of single charts, by name."""
        return {name: rows for chart in self.charts for name, rows in chart.data.items()}

    def svg_files(self) -> dict[str, str]:
        """The charts as SVG, by file name: of very many trials the best, and an even choice of the others."""
        import vl_convert

        stars = [row for row in self.trials if row["kind"] == "best"]
        others = evenly([row for row in self.trials if row["kind"] != "best"], MOST_IN_A_FILE)
        faint = evenly([row["trial"] for row in others], FAINT_IN_A_FILE)
        curves = {
            f"curves_{place}": curve_rows(self.curves, family, self.names, faint)
            for place, family in enumerate(self.families)
        }
        datasets = {**self.datasets, **curves, "trials": [*others, *stars]}
        return {f"{chart.name}.svg": vl_convert.vegalite_to_svg(chart.with_data(datasets)) for chart in self.charts}


def report_charts(tables: Tables, conditions: Mapping[tuple[str, str], str]) -> ReportCharts:
    """The charts of a study; see `axes` for `conditions`."""
    drawn = axes(tables, conditions)
    objective = objective_axis(tables.ranked()["objective"].to_list(), tables.objective.mode)
    settings = setting_rows(tables, drawn, objective)
    shown, of_families = shown_curves(tables), tuple(families(tables))
    curves = thinned_curves(tables, of_families)
    num_arm_colours = len(tables.arms) if len(tables.arms) > 1 else 0
    charts = [
        *axis_plots(tables, drawn, objective, settings, has_intervals(tables)),
        *([] if tables.adaptive else isolation_plots(tables, drawn)),
        *transfer_plots(tables),
        *([] if tables.adaptive else best_of_n_plots(tables)),
        *(
            curves_plot(curves, family, shown, band_rows(tables, family, shown), place, num_arm_colours)
            for place, family in enumerate(of_families)
        ),
        *gradient_norms_plots(tables),
        *rungs_plot(tables),
        *best_step_plot(tables),
        *([] if tables.adaptive else importance_plot(tables)),
    ]
    return ReportCharts(
        with_names_apart(charts), trial_rows(tables, drawn, objective), curves, of_families, shown.names
    )
