"""A rhythm is found with its period, and noise has one about as often as it should."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_curves import draw
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import periodic
from playbook.analysis.rules.periodic import strongest_waves
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import Objective


@pytest.mark.parametrize("count", [16, 30, 50, 200])
def test_noise_around_a_learning_curve_has_no_rhythm(count):
    rng = np.random.default_rng(count)
    x = np.arange(1, count + 1) / count
    for course in (np.exp(-x / 0.1), x**-0.5, np.maximum(1 - 2 * x, 0)):
        waves = strongest_waves(course + 0.05 * rng.standard_normal((400, count)))
        assert np.mean(waves.p_value < 0.05) < 0.1
        assert np.mean(waves.p_value < periodic.Thresholds.p_value) < 0.01


def test_noise_that_hangs_together_has_none_either():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((600, 150))
    for i in range(1, 150):
        noise[:, i] += 0.4 * noise[:, i - 1]
    found = strongest_waves(noise)
    assert np.mean(found.p_value < periodic.Thresholds.p_value) < 0.03
    assert not np.any((found.p_value < periodic.Thresholds.p_sure) & (found.steadiness > periodic.Thresholds.steady))


WAVES = {
    "sine": lambda phase: np.sin(2 * np.pi * phase),
    "saw": lambda phase: 2 * (phase % 1) - 1,
    "spike": lambda phase: 3.0 * (phase % 1 < 0.15),
}


@pytest.mark.parametrize("shape", WAVES)
@pytest.mark.parametrize("period", [3.3, 7.0, 12.4, 22.5])
def test_a_wave_is_found_with_its_period(shape, period):
    rng = np.random.default_rng(1)
    index = np.arange(100)
    waves = WAVES[shape](index / period + rng.random((50, 1)))
    found = strongest_waves(np.exp(-index / 8) + 0.2 * waves + 0.05 * rng.standard_normal((50, 100)))
    assert np.mean(found.p_value < periodic.Thresholds.p_value) > 0.9
    # A spike between evaluations is in no or two of them, so that it may be seen as an overtone.
    parts = np.rint(period / np.median(found.period)) if shape == "spike" else 1.0
    assert np.median(found.period) * parts == pytest.approx(period, rel=0.04)


def test_one_hump_is_no_rhythm():
    rng = np.random.default_rng(2)
    index = np.arange(100)
    burst = np.sin(2 * np.pi * index / 8) * (np.abs(index - 75) < 12)
    found = strongest_waves(burst + 0.1 * rng.standard_normal((50, 100)))
    assert np.all(found.steadiness < periodic.Thresholds.steady)


def test_the_finding_names_metric_and_period_in_steps():
    tables = next(tables for seed in range(50) if len((tables := draw("periodic", seed)).curves) > 1000)
    found = periodic.find(tables)
    assert [each.code for each in found] == ["periodic_metric"]
    assert found[0].evidence["metric"] == "val/error"
    every = int(np.diff(tables.curves["step"].unique().sort().to_numpy())[0])
    first = found[0].evidence["trials"][0]
    assert first["period_steps"] == pytest.approx(first["period"] * every)


def some_curves(values: np.ndarray) -> Tables:
    """A study whose validation curves are the rows."""
    rows = [(trial, 10 * i, "val/error", float(v)) for trial, row in enumerate(values) for i, v in enumerate(row)]
    trials = pl.DataFrame(
        {"trial": range(len(values)), "arm": "all", "status": "complete", "objective": values.min(axis=1)},
        schema_overrides={"trial": pl.Int64()},
    )
    return Tables(trials, Objective(), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"))


def test_one_curve_of_twenty_is_no_bug_of_the_pipeline_even_if_it_is_the_best():
    rng = np.random.default_rng(4)
    index = np.arange(60)
    wave = 0.3 * np.sin(2 * np.pi * index / 6)
    values = np.exp(-index / 8) + 0.05 * rng.standard_normal((20, 60))
    values[0] += wave - 0.2
    assert some_curves(values).ranked()["trial"][0] == 0
    assert strongest_waves(values[:1]).p_value[0] < periodic.Thresholds.p_sure
    assert periodic.find(some_curves(values)) == []
    values[1:15] += np.sin(2 * np.pi * (index / 6 + rng.random((14, 1)))) * 0.3
    (found,) = periodic.find(some_curves(values))
    assert not found.evidence["in_step"]


def test_a_rhythm_that_all_share_in_step_is_said_to_be_of_what_they_share():
    rng = np.random.default_rng(5)
    index = np.arange(60)
    values = np.exp(-index / 8) + 0.05 * rng.standard_normal((20, 60)) + 0.08 * np.sin(2 * np.pi * index / 6)
    (found,) = periodic.find(some_curves(values))
    assert found.evidence["in_step"]
    assert "order of the data" in found.message
    assert found.evidence["trials"][0]["period_steps"] == pytest.approx(60, rel=0.05)


def test_noise_that_all_share_has_no_rhythm_because_all_have_it():
    said = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shared = 0.05 * rng.standard_normal(60)
        values = np.exp(-np.arange(60) / 8) + shared + 0.02 * rng.standard_normal((20, 60))
        said += bool(periodic.find(some_curves(values)))
    assert said <= 1


def test_a_rhythm_of_the_training_loss_counts_too():
    tables = next(tables for seed in range(50) if len((tables := draw("periodic", seed)).curves) > 1000)
    names = {"val/error": "train/eval_loss", "train/eval_loss": "val/error"}
    swapped = tables.curves.with_columns(tables.curves["metric"].replace(names))
    found = periodic.find(replace(tables, curves=swapped))
    assert [each.evidence["metric"] for each in found] == ["train/eval_loss"]


def test_verdicts_are_right():
    check_verdicts(periodic.find, "periodic_metric")
