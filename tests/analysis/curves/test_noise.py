"""Trends and rises against scipy and against their nominal error rates."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau, norm

from playbook.analysis.curves.noise import change, trend
from playbook.analysis.curves.rectangle import Curves
from playbook.analysis.curves.rises import rises


def everywhere(values: np.ndarray) -> np.ndarray:
    return np.ones_like(values, dtype=bool)


@pytest.mark.parametrize("count", [4, 5, 8, 9])
def test_for_few_points_the_chance_is_exact(count):
    rng = np.random.default_rng(count)
    for values in rng.permuted(np.tile(np.arange(float(count)), (40, 1)), axis=1):
        exact = kendalltau(np.arange(count), values, method="exact", alternative="greater")
        z = trend(values[None], everywhere(values[None]))[0]
        if exact.statistic > 0:
            assert norm.sf(z) == pytest.approx(exact.pvalue, rel=1e-6)
        elif exact.statistic < 0:
            assert z <= 0


def test_ties_and_many_points_have_the_normal_approximation():
    rng = np.random.default_rng(1)
    for count in (10, 30, 64):
        values = rng.integers(0, 5, count).astype(float)
        score = sum(np.sign(b - a) for a, b in itertools.combinations(values, 2))
        ties = sum(t * (t - 1) * (2 * t + 5) for t in np.unique(values, return_counts=True)[1])
        variance = (count * (count - 1) * (2 * count + 5) - ties) / 18
        assert trend(values[None], everywhere(values[None]))[0] == pytest.approx(
            (score - np.sign(score)) / np.sqrt(variance)
        )


def test_only_the_points_within_count():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(3, 40))
    where = np.zeros_like(values, dtype=bool)
    where[:, 10:25] = True
    cut = values[:, 10:25]
    assert trend(values, where).tolist() == trend(cut, everywhere(cut)).tolist()
    steps = np.sort(rng.uniform(0, 100, (3, 40)), axis=1)
    line = [np.polyfit(x, y, 1)[0] * np.ptp(x) for x, y in zip(steps[:, 10:25], cut, strict=True)]
    assert change(steps, values, where) == pytest.approx(line)


@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_noise_has_a_trend_about_as_often_as_it_should(correlation):
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((4000, 80))
    for i in range(1, 80):
        noise[:, i] = correlation * noise[:, i - 1] + np.sqrt(1 - correlation**2) * noise[:, i]
    z = trend(noise[:, 40:], everywhere(noise[:, 40:]))
    assert np.mean(z > norm.isf(0.05)) < 0.08
    assert np.mean(z > norm.isf(0.001)) < 0.005


def curves(values: np.ndarray) -> Curves:
    rows, count = values.shape
    steps = np.tile(np.arange(float(count)), (rows, 1))
    return Curves(np.arange(rows), steps, values, np.full(rows, count), np.zeros(rows, bool))


@pytest.mark.parametrize("count", [10, 20, 60, 300])
def test_a_curve_that_has_come_to_rest_rarely_seems_to_rise(count):
    rng = np.random.default_rng(count)
    course = np.exp(-np.linspace(0, 1, count) / 0.1)
    found = rises(curves(course + 0.02 * rng.standard_normal((1000, count))))
    assert np.mean(found.at_the_end) < 0.02
    assert np.mean(found.anywhere) < 0.04
    assert not found.surely.any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_rise_is_found_where_it_is_and_as_large_as_it_is(scale):
    rng = np.random.default_rng(4)
    x = np.linspace(0, 1, 100)
    course = np.exp(-x / 0.05) + 0.2 * np.clip((x - 0.4) / 0.6, 0, 1)
    found = rises(curves(scale * (course + 0.02 * rng.standard_normal((200, 100)))))
    assert found.surely.mean() > 0.95
    assert np.median(found.low_step) == pytest.approx(35, abs=8)
    assert np.median(found.in_noise) == pytest.approx(9.5, rel=0.15)  # of 10: the last stretch is a mean
    assert found.low == pytest.approx(0.0, abs=0.03 * scale)


def test_a_hump_is_found_though_the_end_is_low():
    rng = np.random.default_rng(5)
    x = np.linspace(0, 1, 100)
    course = np.exp(-x / 0.05) + 0.3 * (np.abs(x - 0.5) < 0.05)
    found = rises(curves(course + 0.02 * rng.standard_normal((200, 100))))
    assert found.anywhere.mean() > 0.98
    assert found.at_the_end.mean() < 0.05
    assert np.all((found.top_step >= 45) & (found.top_step <= 56))


def test_a_change_that_is_nothing_beside_what_was_learnt_is_no_rise():
    x = np.linspace(0, 1, 100)
    course = np.exp(-x / 0.05) + 1e-4 * x  # no noise at all
    assert not rises(curves(course[None])).anywhere[0]
