"""Intervals of a mean over test examples: published values, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from playbook.analysis.mean_interval import bootstrap, optimism, wilson


@pytest.mark.parametrize(
    ("misses", "n_examples", "interval"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe 1998, table I, method 3
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_as_published(misses, n_examples, interval):
    low, high = wilson(misses, n_examples)
    assert (low, high) == pytest.approx(interval, abs=5e-5)
    assert (1 - high, 1 - low) == pytest.approx(wilson(n_examples - misses, n_examples))
    assert (low == 0) == (misses == 0)


def test_bootstrap_holds_a_skewed_mean_about_as_often_as_it_says():
    inside = 0
    for seed in range(40):
        values = np.random.default_rng(seed).exponential(size=200)
        low, high = bootstrap(float(values.mean()), values, np.ones(200), 1.0)
        inside += low <= 1.0 <= high
    assert inside / 40 > 0.85


def test_bootstrap_follows_weights_and_the_slope_of_the_metric():
    random = np.random.default_rng(0)
    values, weights = random.normal(4.0, 1.0, 500), random.integers(1, 4, 500)
    mean = float(np.average(values, weights=weights))
    low, high = bootstrap(mean, values, weights, 1.0)
    ratio_se = np.sqrt((weights**2 * (values - mean) ** 2).sum()) / weights.sum()  # Cochran 1977, 6.4
    assert (high - low) / 3.92 == pytest.approx(ratio_se, rel=0.1)
    rooted = bootstrap(mean**0.5, values, weights, 0.5 / mean**0.5)  # of the root the delta method
    assert rooted[1] - rooted[0] == pytest.approx((high - low) * 0.5 / mean**0.5)
    whole = values[weights > 1], np.ones((weights > 1).sum())
    assert bootstrap(mean, *whole, 1.0) != (low, high)


def test_the_best_of_several_equal_models_seems_better():
    drawn = np.random.default_rng(0).standard_normal((20_000, 10))
    assert optimism(1, 0.1) == 0
    assert optimism(2, 1.0) == pytest.approx(drawn[:, :2].max(1).mean(), abs=0.04)
    assert optimism(10, 1.0) == pytest.approx(drawn.max(1).mean(), abs=0.03)
