"""The best of n against every draw of n, one by one."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import study, tables
from verdicts_of_studies import EACH_DRAW, Case, a_study, check_verdicts

from playbook.analysis.rules.best_of_n import box_plots, expected, find, quantile, sampling, sizes, values_of
from playbook.analysis.tables import Tables
from playbook.study.design import Objective
from playbook.study.space import Choice, Float

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


def test_sampling_counts_by_hand():
    found = sampling(tables([0.0, 0.2, 1.0, 1.0, 1.0, None], {"lr": [0.1] * 6}, SPACE), "all")
    # The best of three of the six, as regrets 0, 0.2, 1, 1, 1, 1: 10 of 20 draws hold the best, 6 the second only.
    assert (found.num_trials, found.feasible, found.good) == (6, 5, 2)
    assert found.falling == pytest.approx((6 * 0.2 + 4) / 20)


def test_a_curve_that_falls_is_advice_to_run_more_and_a_flat_one_is_silent():
    flat = study(200, SPACE, lambda at: (at["lr"] - 0.5) ** 2)
    assert find(flat) == []
    (few,) = find(study(8, {f"k{i}": Float(0, 1) for i in range(6)}, lambda at: sum(u**2 for u in at.values())))
    assert (few.code, few.rule, few.severity != "info") == ("few_trials", "B6", True)
    assert few.next[0].changes == {"study.n_trials": 16}
    (none,) = find(tables([0.1, 0.2], {"lr": [0.1, 0.2]}, SPACE))
    assert (none.severity, none.evidence["falling"]) == ("info", None)


def grid(lrs: list[float], seeds: list[int], objective) -> Tables:
    rows = [(lr, seed) for lr in lrs for seed in seeds]
    trials = pl.DataFrame(
        {
            "trial": range(len(rows)),
            "arm": "all",
            "status": "complete",
            "objective": [float(objective(lr, seed)) for lr, seed in rows],
            "seed": [seed for _, seed in rows],
            "lr": [lr for lr, _ in rows],
        }
    )
    space = {"all": {"lr": Float(0.001, 1.0, "log"), "seed": Choice(tuple(seeds))}}
    return Tables(trials, Objective(), space=space, repeat=("seed",))


def test_seeds_of_one_setting_are_one_try():
    """The best of n is over settings: a lucky seed is not a better setting."""
    lrs = [float(lr) for lr in np.geomspace(0.001, 1.0, 8)]
    noisy = grid(lrs, [0, 1, 2], lambda lr, seed: 0.1 + abs(np.log10(lr) + 2) + 0.01 * (seed - 1))
    alone = grid(lrs, [1], lambda lr, seed: 0.1 + abs(np.log10(lr) + 2))
    assert np.allclose(values_of(noisy, "all"), values_of(alone, "all"))


@pytest.mark.parametrize("lrs", [(0.01,), (0.01, 0.03, 0.1)])
def test_where_everything_was_tried_there_is_nothing_more_to_try(lrs):
    tables = grid(list(lrs), [0, 1, 2], lambda lr, seed: lr * (1 + seed))
    whole = replace(tables, space={"all": {"lr": Choice(lrs), "seed": Choice((0, 1, 2))}})
    assert find(whole) == []
    assert find(tables)  # of a continuum there is always more


def few_trials(rng, fault: bool) -> Case:
    num_trials = int(rng.integers(5, 9)) if fault else int(rng.integers(80, 250))
    dimensions = int(rng.integers(4, 7)) if fault else int(rng.integers(1, 4))
    return Case(a_study(rng, num_trials, dimensions, lr=rng.uniform(0.3, 0.7), loudest=0.15), find, fault)


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(few_trials, seed)
