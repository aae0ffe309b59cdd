"""The best of n against every draw of n, one by one."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import grid_of_seeds, tables

from playbook.analysis.rules.best_of_n import bands, box_plots, expected, quantile, sizes, values_of
from playbook.study.space import Float

SPACE = {"lr": Float(1e-4, 1e-1, "log")}


def draws(values, n, replacement, mode):
    """The best of every possible draw of n, in ascending order."""
    pairs = itertools.product(values, repeat=n) if replacement else itertools.combinations(values, n)
    return sorted(min(each) if mode == "min" else max(each) for each in pairs)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=5),
    replacement=st.booleans(),
    mode=st.sampled_from(["min", "max"]),
    twelfth=st.integers(0, 12),
)
def test_every_draw_enumerated(values, replacement, mode, twelfth):
    p = Fraction(twelfth, 12)
    for n in range(1, len(values) + 1):
        best = draws(values, n, replacement, mode)
        assert expected(values, [n], mode, replacement=replacement)[0] == pytest.approx(np.mean(best))
        at_least = best[max(math.ceil(p * len(best)) - 1, 0)]
        assert quantile(values, [n], float(p), mode, replacement=replacement)[0] == at_least


def test_the_formulas_of_the_papers():
    rng = np.random.default_rng(0)
    y, count = np.sort(rng.standard_normal(50)), 50
    for n in (1, 7, 50):
        i = np.arange(1, count + 1)
        dodge = np.sum(y * ((i / count) ** n - ((i - 1) / count) ** n))
        assert expected(y, [n], "max", replacement=True)[0] == pytest.approx(dodge)
        for p in (0.05, 0.25, 0.5, 0.95):
            assert quantile(y, [n], p, "max", replacement=True)[0] == y[int(np.ceil(count * p ** (1 / n))) - 1]


def test_without_replacement_all_of_them_is_the_best_and_one_of_them_the_mean():
    values = np.random.default_rng(1).standard_normal(10_000)
    found = expected(values, [1, 5000, 10_000], "min", replacement=False)
    assert found[0] == pytest.approx(values.mean(), abs=1e-12)
    assert found[2] == values.min()
    assert values.min() < found[1] < np.sort(values)[3]
    every = expected(values, range(1, 10_001, 50), "min", replacement=True)
    assert (np.diff(every) < 0).all()
    assert np.isfinite(every).all()


def test_infeasible_trials_count_in_n():
    values = [0.1, 0.2, np.inf, np.inf]
    found = expected(values, [2, 3, 4], "min", replacement=False)
    assert found[0] == np.inf  # both of the two may be infeasible
    assert found[1:].tolist() == [pytest.approx(0.75 * 0.1 + 0.25 * 0.2), 0.1]
    assert quantile(values, [1], 0.75, "min", replacement=True)[0] == np.inf
    assert expected([-v for v in values], [3], "max", replacement=False)[0] == -found[1]


def test_boxes_are_ordered_and_sizes_end_where_the_trials_do():
    values = np.random.default_rng(2).exponential(size=300)
    boxes = box_plots(values, sizes(300), "min")
    assert boxes["n"].to_list() == sizes(300)
    assert (sizes(5), sizes(300)[0], sizes(300)[-1], len(sizes(10_000)) <= 24) == ([1, 2, 3, 4, 5], 1, 300, True)
    for lower, upper in itertools.pairwise(["low", "lower", "median", "upper", "high"]):
        assert (boxes[lower] <= boxes[upper]).all()


@pytest.mark.parametrize(("values", "n"), [([], [1]), ([1.0, np.nan], [1]), ([1.0], [0]), ([1.0], [2])])
def test_what_has_no_best_of_n(values, n):
    with pytest.raises(ValueError, match="allowed is"):
        expected(values, n, "min", replacement=False)


def test_values_of_an_arm_give_what_failed_the_worst_that_there_is():
    found = tables([0.3, None, 0.1, 0.2, 1e17, 0.4, 0.2, 0.3], {"lr": [0.1] * 8}, SPACE)
    assert values_of(found, "all") == [0.3, 0.4, 0.1, 0.2, 0.4, 0.4, 0.2, 0.3]
    known = tables([0.3, None, 0.1], {"lr": [0.1] * 3}, SPACE, chance=0.9)
    assert values_of(known, "all") == [0.3, 0.9, 0.1]
    assert values_of(tables([None], {"lr": [0.1]}, SPACE), "all") == []
    best = tables([0.3, None, 0.8], {"lr": [0.1] * 3}, SPACE, mode="max")
    assert values_of(best, "all") == [0.3, 0.3, 0.8]


@pytest.mark.parametrize("num_trials", [5, 20, 100])
def test_bands_hold_at_every_n_at_once_in_eight_of_ten_studies(num_trials):
    """Of draws from the uniform distribution, whose median best of n is 1 − 0.5^(1/n)."""
    rng, n = np.random.default_rng(0), [1, 2, 3, 5, 8, 13, 21, 50, 100, 1000]
    known = 1 - 0.5 ** (1 / np.array(n))
    hold = []
    for _ in range(300):
        rows = bands(list(rng.random(num_trials)), n, "min")
        low, high = rows["low"].fill_null(0.0).to_numpy(), rows["high"].fill_null(1.0).to_numpy()
        hold.append(((low <= known) & (known <= high)).all())
    assert 0.8 <= np.mean(hold) <= 0.99  # 80 % for all quantiles at once, of which the best of n are those below 1/2


def test_bands_of_a_maximum_are_those_of_a_minimum_upside_down():
    values = [0.3, 0.1, 0.7, 0.2, 0.9, 0.4, 0.5, 0.6]
    least, most = bands(values, [1, 2, 4], "min"), bands([-each for each in values], [1, 2, 4], "max")
    assert most["high"].to_list() == [None if each is None else -each for each in least["low"]]
    assert most["low"].to_list() == [None if each is None else -each for each in least["high"]]
    assert most["median"].to_list() == [-each for each in least["median"]]


def test_seeds_of_one_setting_are_one_try():
    """The best of n is over settings: a lucky seed is not a better setting."""
    lrs = [float(lr) for lr in np.geomspace(0.001, 1.0, 8)]
    noisy = grid_of_seeds(lrs, [0, 1, 2], lambda lr, seed: 0.1 + abs(np.log10(lr) + 2) + 0.01 * (seed - 1))
    alone = grid_of_seeds(lrs, [1], lambda lr, seed: 0.1 + abs(np.log10(lr) + 2))
    assert np.allclose(values_of(noisy, "all"), values_of(alone, "all"))
