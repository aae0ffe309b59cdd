"""Repeats are drawn as one setting: its mean, with the standard error of that mean."""

from dataclasses import replace
from math import sqrt
from statistics import mean, stdev

import polars as pl
import pytest

from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.report.charts.axes import axes
from playbook.report.charts.axis_plots import SETTINGS
from playbook.report.charts.curves_plot import Family, band_rows, families, shown_curves
from playbook.report.charts.objective_axis import ObjectiveAxis, objective_axis
from playbook.report.charts.repeated import repeated
from playbook.report.charts.report_charts import report_charts
from playbook.report.charts.trial_rows import MOST_WITH_INTERVALS, trial_rows
from playbook.study.design import Objective
from playbook.study.space import Choice, Float

VALUES = {0.1: [0.30, 0.34, 0.29], 0.2: [0.20, 0.26, 0.23], 0.4: [0.40, None, 0.42]}
"""The objective of each repeat, by lr. The best trial of all is of the best setting, and is not its mean."""


def with_repeats() -> Tables:
    rows = [(lr, seed, value) for lr, values in VALUES.items() for seed, value in enumerate(values)]
    trials = pl.DataFrame(
        {
            "trial": range(9),
            "arm": "all",
            "status": ["infeasible" if value is None else "complete" for _, _, value in rows],
            "objective": [value for _, _, value in rows],
            "lr": [lr for lr, _, _ in rows],
            "seed": [seed for _, seed, _ in rows],
        }
    )
    curves = [
        (trial, step, "val/error", value + (1 - step / 10))
        for trial, (_, _, value) in enumerate(rows)
        if value
        for step in (0, 5, 10)
    ]
    space = {"all": {"lr": Choice(tuple(VALUES)), "seed": Choice((0, 1, 2))}}
    curves = pl.DataFrame(curves, schema=CURVE_COLUMNS, orient="row")
    return Tables(trials, Objective(), curves, space=space, repeat=("seed",))


def test_the_mean_of_a_setting_and_its_standard_error():
    found = {each.trials: each for each in repeated(with_repeats())}
    assert list(found) == [(3, 4, 5), (0, 1, 2)]  # best first; not that of which a repeat diverged
    for lr, trials in ((0.2, (3, 4, 5)), (0.1, (0, 1, 2))):
        assert found[trials].mean == pytest.approx(mean(VALUES[lr]))
        assert found[trials].se == pytest.approx(stdev(VALUES[lr]) / sqrt(3))
    assert found[3, 4, 5].trial == 5  # nearest to the mean
    assert found[3, 4, 5].label == "trial 5 and 2 repeats"


def test_the_charts_have_means_where_settings_are_and_none_on_the_axis_of_the_seeds():
    charts = {chart.name: chart for chart in report_charts(with_repeats(), {}).charts}
    drawn = [(row["trial"], row["kind"]) for row in charts["axis_lr"].data[SETTINGS]]
    assert drawn == [(5, "best"), (0, "trial")]
    assert SETTINGS not in charts["axis_seed"].data


def test_a_setting_that_was_run_once_is_a_star_too_where_others_are_repeated():
    tables = with_repeats()
    once = {"trial": 9, "arm": "all", "status": "complete", "objective": 0.1, "lr": 0.8, "seed": 0}
    trials = pl.concat([tables.trials, pl.DataFrame([once])])
    space = {"all": {"lr": Choice((*VALUES, 0.8)), "seed": Choice((0, 1, 2))}}
    charts = {chart.name: chart for chart in report_charts(replace(tables, trials=trials, space=space), {}).charts}
    first, *others = charts["axis_lr"].data[SETTINGS]
    assert (first["trial"], first["kind"], first["low"]) == (9, "best", None)
    assert [row["low"] is not None for row in others] == [True, True]


def test_the_curve_of_a_setting_is_the_mean_of_its_repeats_in_a_band():
    tables = with_repeats()
    (family,) = families(tables)
    rows = band_rows(tables, family, shown_curves(tables))
    assert {row["who"] for row in rows} >= {"trial 5 and 2 repeats"}
    for row in (row for row in rows if row["who"] == "trial 5 and 2 repeats"):
        at_step = [value + (1 - row["step"] / 10) for value in VALUES[0.2]]
        assert row["value"] == pytest.approx(mean(at_step))
        assert row["high"] - row["low"] == pytest.approx(2 * stdev(at_step) / sqrt(3))


def with_errors(count: int) -> Tables:
    trials = pl.DataFrame({"trial": range(count), "arm": "all", "status": "complete"}).with_columns(
        objective=0.2 + 0.01 * pl.col("trial"), objective_se=pl.lit(0.03), lr=0.1 + 0.01 * pl.col("trial")
    )
    curves = [
        (trial, step, metric, value)
        for trial in range(count)
        for step in (0, 10)
        for metric, value in (("val/error", 0.5 - 0.03 * step), ("val/error_se", 0.02 + 0.001 * step))
    ]
    curves = pl.DataFrame(curves, schema=CURVE_COLUMNS, orient="row")
    return Tables(trials, Objective(), curves, space={"all": {"lr": Float(0.1, 30.0)}})


def test_a_trial_has_its_standard_error_where_there_is_room():
    wide = ObjectiveAxis(0.0, 1.0, "linear", 1.0)
    row = trial_rows(with_errors(4), axes(with_errors(4)), wide)[1]
    assert (row["low"], row["y"], row["high"]) == pytest.approx((0.18, 0.21, 0.24))
    assert "val/error 0.21 ± 0.03 ·" in row["tip"]
    many = with_errors(MOST_WITH_INTERVALS + 1)
    assert "low" not in trial_rows(many, axes(many), wide)[1]


def test_a_standard_error_is_the_band_of_its_metric_and_no_chart_of_its_own():
    tables = with_errors(8)
    assert families(tables) == [Family("error", {"val/error": "validation"})]
    rows = band_rows(tables, families(tables)[0], shown_curves(tables))
    assert [(row["who"], row["step"]) for row in rows] == [("trial 0", 0), ("trial 0", 10)]
    assert [row["high"] - row["value"] for row in rows] == pytest.approx([0.02, 0.03])
    assert objective_axis([1.0], "min").scale == "linear"


def test_a_band_stays_within_the_axis():
    tables = with_errors(8)
    curves = tables.curves.with_columns(
        pl.when(pl.col("metric") == "val/error_se").then(5.0).otherwise("value").alias("value")
    )
    charts = {chart.name: chart for chart in report_charts(replace(tables, curves=curves), {}).charts}
    low, high = charts["curves_error"].specification["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert [(row["low"], row["high"]) for row in charts["curves_error"].data["bands_0"]] == [(low, high)] * 2
