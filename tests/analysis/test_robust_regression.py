"""A line through values of which some are far off."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import linregress, t

from playbook.analysis.robust_regression import FAR, robust_coefficient


def line(rng, count, noise):
    x = rng.uniform(-1, 1, count)
    return np.stack([np.ones(count), x], axis=1), 0.3 + 0.5 * x + noise


def test_where_nothing_is_far_it_is_least_squares():
    design, values = line(np.random.default_rng(0), 30, np.resize([0.1, -0.1], 30))
    expected = linregress(design[:, 1], values)
    slope, error = robust_coefficient(design, values, 1)
    assert (slope, error) == (pytest.approx(expected.slope), pytest.approx(expected.stderr))


def test_few_values_are_all_counted():
    rng = np.random.default_rng(4)
    design, values = line(rng, 12, rng.standard_t(1, 12))
    expected = linregress(design[:, 1], values)
    assert robust_coefficient(design, values, 1) == (pytest.approx(expected.slope), pytest.approx(expected.stderr))


def test_it_minimises_hubers_loss():
    rng = np.random.default_rng(1)
    design, values = line(rng, 40, 0.1 * rng.standard_t(2, 40))
    slope, _ = robust_coefficient(design, values, 1)

    def loss(beta, reach):
        rest = np.abs(values - design @ beta)
        return np.where(rest < reach, rest**2 / 2, reach * rest - reach**2 / 2).sum()

    beta = np.array([0.3, 0.5])
    for _ in range(30):  # its scale is that of its own residuals
        reach = FAR * 1.4826 * np.median(np.abs(values - design @ beta)) * np.sqrt(40 / 38)
        beta = minimize(loss, beta, args=(reach,), options={"gtol": 1e-9}).x
    assert slope == pytest.approx(beta[1], abs=2e-3)


@pytest.mark.parametrize("heavy", [False, True])
def test_its_interval_holds_the_truth(heavy):
    rng, outside = np.random.default_rng(2), 0
    for _ in range(400):
        design, values = line(rng, 30, rng.standard_t(3, 30) if heavy else rng.standard_normal(30))
        slope, error = robust_coefficient(design, values, 1)
        outside += abs(slope - 0.5) > t.ppf(0.975, 28) * error
    assert 0.02 <= outside / 400 <= 0.085


def test_a_line_without_noise_has_no_error():
    design, values = line(np.random.default_rng(3), 30, np.zeros(30))
    slope, error = robust_coefficient(design, values, 1)
    assert slope == pytest.approx(0.5)
    assert error == pytest.approx(0, abs=1e-12)
