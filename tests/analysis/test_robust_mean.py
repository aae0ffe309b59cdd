"""The mean of a few values, some of which may be far off."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import t

from playbook.analysis.robust_mean import FAR, robust_mean


def test_it_minimises_hubers_loss():
    for seed in range(20):
        values = np.random.default_rng(seed).standard_t(2, 12)
        reach = FAR * 1.4826 * np.median(np.abs(values - np.median(values)))

        def loss(middle, values=values, reach=reach):
            far = np.abs(values - middle)
            return np.where(far < reach, far**2 / 2, reach * far - reach**2 / 2).sum()

        expected = minimize_scalar(loss, bounds=(values.min(), values.max()), method="bounded", options={"xatol": 1e-9})
        assert robust_mean(values).mean == pytest.approx(expected.x, abs=1e-6)


def test_where_nothing_is_far_it_is_the_mean_with_its_standard_error():
    values = np.array([1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    found = robust_mean(values)
    assert (found.mean, found.degrees) == (pytest.approx(values.mean()), 5)
    assert found.se == pytest.approx(values.std(ddof=1) / np.sqrt(6))


def test_differences_of_which_most_are_equal_are_all_counted():
    values = np.array([0.0] * 6 + [1.0, 1.0, 2.0])
    found = robust_mean(values)
    assert (found.mean, found.se) == (pytest.approx(4 / 9), pytest.approx(values.std(ddof=1) / 3))


@pytest.mark.parametrize("noise", ["normal", "heavy"])
def test_its_interval_holds_the_truth(noise):
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((1000, 10)) if noise == "normal" else rng.standard_t(3, (1000, 10))
    found = [robust_mean(values) for values in drawn]
    outside = np.mean([abs(each.mean) > t.ppf(0.975, each.degrees) * each.se for each in found])
    assert 0.02 <= outside <= 0.075


def test_one_value_that_went_wrong_hardly_matters():
    values = np.linspace(-1, 1, 11)
    wrong = robust_mean(np.append(values, 1e6))
    assert abs(wrong.mean) < 0.25
    assert wrong.se < 1.5 * robust_mean(values).se
