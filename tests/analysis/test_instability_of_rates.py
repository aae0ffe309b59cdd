"""The best learning rate, where instability begins, and the verdict, of runs whose truth is written down."""

import numpy as np
import pytest

from playbook.analysis.instability import Course
from playbook.analysis.instability_of_rates import Begins, BestRate, Rate, begins, best_rate, told, verdict

STABLE, EARLY, LATE = Course("stable"), Course("early", 3), Course("mid-run", 700)


def rate(lr, kinds="...", objectives=None):
    """`.` a stable run, `e` one that is unstable early, `m` mid-run."""
    courses = tuple({".": STABLE, "e": EARLY, "m": LATE}[kind] for kind in kinds)
    return Rate(lr, tuple(objectives or [0.1] * len(kinds)), courses)


def swept(noise, seed, centre=0.1, mode="min", seeds=3):
    rng = np.random.default_rng(seed)
    sign = 1 if mode == "min" else -1
    grid = np.geomspace(1e-3, 1, 10)
    smooth = 0.02 + 0.02 * np.log10(grid / centre) ** 2
    noisy = smooth[:, None] + noise * rng.standard_normal((len(grid), seeds))
    return [rate(lr, objectives=list(sign * values)) for lr, values in zip(grid, noisy, strict=True)]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_rate_is_found_within_its_interval_whatever_the_noise(mode):
    rates = [best_rate(swept(0.003, seed, mode=mode), mode) for seed in range(40)]
    assert all(0.03 < best.lr < 0.35 for best in rates)
    assert sum(best.low <= 0.1 * 1.47 and best.high >= 0.1 / 1.47 for best in rates) >= 38  # a step of the grid: 2.15
    assert all(best.edge is None for best in rates)
    narrow = best_rate(swept(1e-6, 0, mode=mode), mode)
    assert narrow.low == narrow.lr == narrow.high == pytest.approx(0.1)


def test_the_luckiest_of_equals_far_from_the_others_is_not_the_best():
    means = [0.10, 0.04, 0.031, 0.030, 0.032, 0.05, 0.028, 0.10]  # 0.03 among its like, 0.028 beside 0.05 and 0.1
    flat = [[mean - 0.004, mean + 0.004] for mean in means]
    rates = [rate(10.0**place, "..", values) for place, values in enumerate(flat)]
    assert best_rate(rates, "min").lr in (100.0, 1000.0, 10000.0)


def test_a_cliff_beside_the_best_does_not_push_it_away():
    values = [0.06, 0.05, 0.04, 0.034, 0.03, 0.6, 0.7, 0.9]
    rates = [rate(2.0**place, objectives=[value, value + 1e-3]) for place, value in enumerate(values)]
    assert best_rate(rates, "min").lr == 16.0


@pytest.mark.parametrize(("centre", "edge"), [(1e-4, "lower"), (10.0, "upper"), (0.03, None)])
def test_the_best_rate_at_an_end_of_the_range_says_which(centre, edge):
    assert best_rate(swept(1e-3, 0, centre), "min").edge == edge


def test_infeasible_rates_are_not_the_best_and_make_no_edge():
    rates = [rate(0.01, objectives=[0.3] * 3), rate(0.1, objectives=[0.1] * 3), rate(1.0, "eee", [None, None, 0.01])]
    best = best_rate(rates, "min")
    assert (best.lr, best.edge) == (0.1, None)
    assert best_rate([rate(1.0, "eee", [None] * 3)], "min") is None


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["...", "...", "...", "..."], None),
        (["...", "...", "eee", "eee"], Begins(4.0, 2.0, 4.0)),
        (["...", "e..", "ee.", "eee"], Begins(4.0, 1.0, 8.0)),
        (["eee", "eee", "emm", "eee"], Begins(1.0, None, 1.0)),
        (["...", "eee", "...", "ee."], Begins(8.0, 1.0, None)),  # a stable one above: it does not begin there
    ],
)
def test_where_instability_begins(kinds, expected):
    rates = [rate(2.0**place, each) for place, each in enumerate(kinds)]
    assert begins(rates) == expected
    assert begins(rates[::-1]) == expected


def test_what_so_many_seeds_tell():
    assert [told(count, 3) for count in range(4)] == ["few", "open", "open", "most"]
    assert [told(count, 6) for count in range(7)] == ["few", "few", "open", "open", "open", "most", "most"]
    assert {told(count, 2) for count in range(3)} == {"open"}


@pytest.mark.parametrize(
    ("kinds", "expected", "shown_by"),
    [
        ({1: "...", 1.5: "...", 2: "...", 5: "eee", 10: "eee"}, "stable", None),  # every network breaks somewhere
        ({1: "...", 1.5: "...", 2: "eee", 5: "eee", 10: "eee"}, "unstable early", 2),
        ({1: "...", 1.5: "eee", 2: "eee", 5: "eee", 10: "eee"}, "unstable early", 1.5),
        ({1: "eee", 1.5: "eee", 2: "eee", 5: "eee", 10: "eee"}, "unstable early", 1),
        ({1: "...", 1.5: "...", 2: "mmm", 5: "eee", 10: "eee"}, "unstable mid-run", 2),
        ({1: "...", 1.5: "...", 2: "...", 5: "mmm", 10: "eee"}, "unstable mid-run", 5),
        ({1: "...", 1.5: "...", 2: "...", 5: "...", 10: "mmm"}, "unstable mid-run", 10),
        ({1: "...", 1.5: "...", 2: "...", 5: "...", 10.1: "mmm"}, "stable", None),
        ({0.5: "eee", 1: "...", 1.5: "...", 2: "...", 5: "..."}, "stable", None),
        ({1: "...", 1.5: "...", 2: "e..", 5: "eee", 10: "eee"}, "cannot tell", 2),
        ({1: "...", 1.5: "...", 2: "ee.", 5: "eee", 10: "eee"}, "cannot tell", 2),
        ({1: "...", 1.5: "...", 2: "...", 5: "m..", 10: "eee"}, "cannot tell", 5),
        ({1: "...", 1.5: "...", 2: "...", 5: "eem", 10: "eee"}, "stable", None),  # rather early
        ({1: "......", 1.5: "......", 2: "e.....", 5: "eeeeee"}, "stable", None),  # few
        ({1: "......", 1.5: "......", 2: "eeeee.", 5: "eeeeee"}, "unstable early", 2),
    ],
)
def test_the_verdict(kinds, expected, shown_by):
    rates = [rate(0.03 * times, each) for times, each in kinds.items()]
    best = best_rate([rate(0.003), rate(0.03, objectives=[0.05] * 3), rate(0.3)], "min")
    assert best.lr == 0.03
    said, by = verdict(rates, best)
    assert said == expected
    assert (None if by is None else pytest.approx(by.lr / 0.03)) == shown_by


@pytest.mark.parametrize(("low", "expected"), [(0.03, "cannot tell"), (0.02, "cannot tell"), (0.003, "stable")])
def test_some_seeds_leave_nothing_open_where_settings_as_good_lie_far_below(low, expected):
    rates = [rate(0.03), rate(0.045), rate(0.06, "e.."), rate(0.15, "eee"), rate(0.3, "eee")]
    assert verdict(rates, BestRate(0.03, low, 0.03, 0.05, None))[0] == expected
