"""All charts of a report, with the data sets that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from playbook.analysis.tables import Tables
from playbook.report.charts.axes import Axis, axes
from playbook.report.charts.axis_plots import axis_plots
from playbook.report.charts.best_of_n_plot import best_of_n_plots
from playbook.report.charts.best_step_plot import best_step_plot
from playbook.report.charts.chart import Chart, with_names_apart
from playbook.report.charts.curves_plot import Family, curve_rows, curves_plot, families, thinned_curves
from playbook.report.charts.gradient_norms_plot import gradient_norms_plots
from playbook.report.charts.importance_plot import importance_plot
from playbook.report.charts.isolation_plots import isolation_plots
from playbook.report.charts.objective_axis import ObjectiveAxis, objective_axis
from playbook.report.charts.trial_rows import num_best, trial_rows

MOST_IN_A_FILE = 2000
"""Trials of an SVG file: more are a blot, and a file of megabytes."""
FAINT_IN_A_FILE = 30


@dataclass(frozen=True)
class Charts:
    """The charts in the order of the page.

    `datasets` has all but the trials and the curves, which are `rows` and `curves`.
    """

    charts: tuple[Chart, ...]
    datasets: Mapping[str, Sequence[Mapping[str, Any]]]
    rows: Sequence[Mapping[str, Any]]
    curves: pl.DataFrame
    families: tuple[Family, ...]
    best: tuple[int, ...]

    def datasets_of_files(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        """Every data set as an SVG file has it: of very many trials the best, and an even choice of the others."""
        stars = [row for row in self.rows if row["kind"] == "best"]
        others = [row for row in self.rows if row["kind"] != "best"]
        some = others[:: -(-len(others) // MOST_IN_A_FILE) or 1]
        trials = [row["trial"] for row in some]
        faint = trials[:: -(-len(trials) // FAINT_IN_A_FILE) or 1]
        curves = {
            f"curves_{place}": curve_rows(self.curves, family, self.best, faint)
            for place, family in enumerate(self.families)
        }
        return {**self.datasets, **curves, "trials": [*some, *stars]}


def charts(tables: Tables, conditions: Mapping[tuple[str, str], str]) -> Charts:
    """The charts of a study; see `axes` for `conditions`."""
    drawn: list[Axis] = axes(tables, conditions)
    objective: ObjectiveAxis = objective_axis(tables.ranked()["objective"].to_list(), tables.objective.mode)
    shown = tuple(families(tables))
    curves = thinned_curves(tables, shown)
    best = tuple(tables.ranked()["trial"].head(num_best(tables)).to_list())
    found: list[Chart] = [*axis_plots(tables, drawn, objective)]
    datasets: dict[str, Sequence[Mapping[str, Any]]] = {}
    for more, data in (isolation_plots(tables, drawn), best_of_n_plots(tables)):
        found += more
        datasets |= data
    of_arms = len(tables.arms) if len(tables.arms) > 1 else 0
    found += [curves_plot(curves, family, best, place, of_arms) for place, family in enumerate(shown)]
    for more, data in (gradient_norms_plots(tables), best_step_plot(tables), importance_plot(tables)):
        found += more
        datasets |= data
    return Charts(with_names_apart(found), datasets, trial_rows(tables, drawn, objective), curves, shown, best)
