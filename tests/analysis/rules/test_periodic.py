"""A rhythm is found with its period, and noise has one about as often as it should."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_curves import draw
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import periodic
from playbook.analysis.rules.periodic import strongest_waves


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


def test_a_rhythm_of_the_training_loss_counts_too():
    tables = next(tables for seed in range(50) if len((tables := draw("periodic", seed)).curves) > 1000)
    names = {"val/error": "train/eval_loss", "train/eval_loss": "val/error"}
    swapped = tables.curves.with_columns(tables.curves["metric"].replace(names))
    found = periodic.find(replace(tables, curves=swapped))
    assert [each.evidence["metric"] for each in found] == ["train/eval_loss"]


def test_verdicts_are_right():
    check_verdicts(periodic.find, "periodic_metric")
