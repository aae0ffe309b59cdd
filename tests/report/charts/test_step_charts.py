"""What is drawn of steps is what the verdicts are made of."""

import polars as pl
import pytest

from playbook.analysis.rules import clipping
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.report.charts.best_step_plot import BINS, best_step_plot
from playbook.report.charts.gradient_norms_plot import gradient_norms_plots
from playbook.study.design import Objective


def of_lengths(lengths: list[int], best_step: list[int] | None) -> Tables:
    """Trials of these many steps, each best at its last evaluation."""
    rows = [
        (trial, step, "val/error", 1 / (1 + step))
        for trial, last in enumerate(lengths)
        for step in (0, last // 2, last)
    ]
    trials = pl.DataFrame({"trial": range(len(lengths)), "arm": "all", "status": "complete"})
    trials = trials.with_columns(objective=pl.Series([1 / (1 + last) for last in lengths]))
    if best_step is not None:
        trials = trials.with_columns(best_step=pl.Series(best_step))
    return Tables(trials, Objective(), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"), max_steps=max(lengths))


@pytest.mark.parametrize("known", [True, False])
def test_a_trial_that_was_best_at_its_own_last_step_is_in_the_last_bar(known):
    lengths = [100, 1000, 100, 1000]
    (chart,) = best_step_plot(of_lengths(lengths, lengths if known else None))
    assert [(row["bin"], row["count"]) for row in chart.data["best_step"]] == [(BINS - 1, 4)]


def test_the_threshold_in_the_picture_is_that_of_the_finding():
    norms = [1 + 0.137 * (step % 11) ** 2 for step in range(57)]
    steps = pl.DataFrame({"step": range(57), "grad_norm": norms, "clipped": [False] * 57})
    trials = pl.DataFrame({"trial": [0], "arm": ["all"], "status": ["complete"], "objective": [0.1]})
    tables = Tables(trials, Objective(), steps={0: steps})
    (finding,) = clipping.find(tables)
    drawn = gradient_norms_plots(tables)[0].data["grad_norm_thresholds"]
    assert [{"clip_norm": row["value"]} for row in drawn] == [finding.next[0].changes]
