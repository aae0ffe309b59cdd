"""What is drawn of steps is what the verdicts are made of."""

from dataclasses import replace

import polars as pl
import pytest

from playbook.analysis.rules import best_step, clipping
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.report.charts.best_step_plot import BINS, asked, best_step_plot
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


def best_at(shares: list[float]) -> Tables:
    """Trials of 100 steps, each best at its share of them, the first one the best."""
    trials = pl.DataFrame({"trial": range(len(shares)), "arm": "all", "status": "complete"}).with_columns(
        objective=pl.Series([0.1 + 0.01 * place for place in range(len(shares))]),
        best_step=pl.Series([round(100 * share) for share in shares]),
    )
    return Tables(trials, Objective(), max_steps=100)


@pytest.mark.parametrize(("share", "key"), [(0.1, "early"), (0.75, "late")])
def test_a_trial_on_the_edge_is_drawn_where_the_verdict_counts_it(share, key):
    tables = best_at([share] * 5)
    (finding,) = best_step.find(tables)
    (chart,) = best_step_plot(tables)
    zone = chart.data["best_step_zones"][key == "late"]
    inside = [row for row in chart.data["best_step"] if zone["begin"] <= row["begin"] and row["end"] <= zone["end"]]
    assert sum(row["count"] for row in inside) == finding.evidence[key] == 5


def test_the_solid_bars_are_of_the_trials_that_the_verdict_asks():
    tables = best_at([0.9] * 10 + [0.3] * 30)
    (finding,) = best_step.find(tables)
    assert asked(tables) == set(finding.trials)
    (chart,) = best_step_plot(tables)
    assert [(row["bin"], row["count"]) for row in chart.data["best_step"] if row["asked"]] == [(18, 10)]
    assert sum(row["count"] for row in chart.data["best_step"]) == 40


def test_a_trial_that_failed_has_no_best_step():
    tables = best_at([0.5] * 9 + [0.02])
    at_chance = pl.when(pl.col("trial") == 9).then(0.9).otherwise("objective")
    tables = replace(tables, trials=tables.trials.with_columns(objective=at_chance), chance=0.9)
    (chart,) = best_step_plot(tables)
    assert [(row["bin"], row["count"]) for row in chart.data["best_step"]] == [(9, 5), (9, 4)]
