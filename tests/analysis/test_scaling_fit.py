"""The fit of steps to a target by batch size: published fits, known answers, and how often its intervals hold."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from playbook.analysis.critical_batch_size import Reached, Thresholds, first_reached, fit_scaling

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "critical_batch_size"
PUBLISHED = {  # Zhang et al. 2024: a, b, and the batch of 20 % over linear scaling from 256
    "85M": (1293.827, 2834258.1, 745.32),
    "151M-ablation": (1752.421, 5677478.8, 955.16),
    "302M": (2095.350, 11383269.9, 1393.73),
    "604M": (2459.927, 19449688.6, 1888.52),
    "1.2B": (3897.307, 43381130.1, 2533.41),
}
SIZES = [8, 16, 32, 64, 128, 256, 512, 1024]


def steps_of(a, b, sizes=SIZES):
    return [a + b / size for size in sizes]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the table is not there")
@pytest.mark.parametrize("model", PUBLISHED)
def test_published_fits_are_reproduced(model):
    with (FOLDER / "steps_to_target.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == model]
    fit = fit_scaling([float(row["batch_size"]) for row in rows], [float(row["steps"]) for row in rows])
    a, b, critical = PUBLISHED[model]
    assert (fit.a, fit.b) == pytest.approx((a, b), rel=1e-3)
    assert fit.over_linear_scaling(256).value == pytest.approx(critical, rel=1e-3)
    assert fit.balance.value == pytest.approx(b / a, rel=1e-3)


def test_steps_without_noise_give_their_own_parameters():
    fit = fit_scaling(SIZES, steps_of(12.5, 900.0))
    assert (fit.a, fit.b) == pytest.approx((12.5, 900.0), rel=1e-5)
    assert fit.residual_sd < 1e-6
    assert fit.balance.low == pytest.approx(72, rel=1e-4)
    assert fit.balance.high == pytest.approx(72, rel=1e-4)


def test_the_fit_is_that_of_another_optimizer():
    steps = [130, 71, 42, 28, 17, 16, 11, 12]
    fit = fit_scaling(SIZES, steps)

    def residuals(logs):
        return np.log(np.exp(logs[0]) + np.exp(logs[1]) / np.array(SIZES)) - np.log(steps)

    other = optimize.least_squares(residuals, [math.log(10), math.log(1000)], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert (fit.a, fit.b) == pytest.approx(np.exp(other.x), rel=1e-5)
    assert fit.residual_sd == pytest.approx(math.sqrt(2 * other.cost / 6), rel=1e-6)


def test_both_definitions_say_what_their_names_do():
    fit = fit_scaling(SIZES, steps_of(10, 640))
    balance, over = fit.balance.value, fit.over_linear_scaling(8).value
    assert fit.predicted([balance])[0] == pytest.approx(2 * fit.a)
    assert balance * fit.predicted([balance])[0] == pytest.approx(2 * fit.b)
    linear = fit.predicted([8])[0] * 8 / over
    assert fit.predicted([over])[0] == pytest.approx(1.2 * linear)


def test_the_interval_of_the_balance_and_the_band_hold_as_often_as_they_say():
    generator, held, covered = np.random.default_rng(0), 0, 0
    for _ in range(200):
        steps = np.exp(np.log(steps_of(10, 640)) + 0.15 * generator.standard_normal(len(SIZES)))
        fit = fit_scaling(SIZES, steps)
        held += fit.balance.low <= 64 <= fit.balance.high
        low, high = fit.band([100])
        covered += low[0] <= 16.4 <= high[0]
    assert 0.91 <= held / 200 <= 0.985
    assert 0.91 <= covered / 200 <= 0.985


@pytest.mark.parametrize(("a", "b", "bounded"), [(1e-9, 640, (True, False)), (10, 1e-9, (False, True))])
def test_an_end_that_no_size_bounds_is_said(a, b, bounded):
    noise = np.exp(0.1 * np.array([1, -1, 1, 1, -1, -1, 1, -1]))
    balance = fit_scaling(SIZES, steps_of(a, b) * noise).balance
    assert (balance.low > 0, math.isfinite(balance.high)) == bounded
    assert not balance.is_bounded


def test_regimes_are_those_that_the_interval_allows():
    fit = fit_scaling(SIZES, steps_of(10, 640))
    assert [fit.regimes(size) for size in (8, 64, 1024)] == [("perfect scaling",), ("diminishing",), ("flat",)]
    # At a fifth of the balance steps are 20 % over perfect scaling; at five times 20 % over the fewest.
    noisy = fit_scaling(SIZES, steps_of(10, 640) * np.exp(0.2 * np.array([1, -1, 1, 1, -1, -1, 1, -1])))
    assert noisy.regimes(12.8) == ("perfect scaling", "diminishing")
    assert noisy.regimes(320) == ("diminishing", "flat")


def test_too_few_sizes_are_not_fitted():
    with pytest.raises(AssertionError, match="two parameters"):
        fit_scaling(SIZES[:3], [3, 2, 1])
    assert fit_scaling(SIZES[:3], [30, 20, 15], Thresholds(fewest_sizes=3)).a > 0


def test_a_target_is_reached_on_the_line_between_two_evaluations():
    assert first_reached([0, 10, 20, 30], [1.0, 0.5, 0.3, 0.2], 0.4, "min") == Reached(15.0, 10, 20)
    assert first_reached([0, 10, 20, 30], [0.0, 0.5, 0.7, 0.8], 0.6, "max") == Reached(pytest.approx(15.0), 10, 20)
    assert first_reached([0, 10, 20], [1.0, 0.5, 0.3], 0.1, "min") is None


def test_one_lucky_evaluation_is_not_a_target_reached():
    steps = [0, 10, 20, 30, 40, 50]
    assert first_reached(steps, [1.0, 0.2, 0.9, 0.5, 0.2, 0.1], 0.3, "min").by == 40
    assert first_reached(steps, [1.0, 0.9, 0.9, 0.9, 0.9, 0.1], 0.3, "min") is None


def test_what_diverges_reaches_nothing():
    steps = [0, 10, 20, 30]
    assert first_reached(steps, [1.0, math.nan, math.nan, math.nan], 0.3, "min") is None
    assert first_reached(steps, [1.0, math.inf, 0.2, 0.1], 0.3, "min").by == 20
    assert first_reached([0], [0.1], 0.3, "min") is None
