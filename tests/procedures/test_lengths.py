"""Lengths of training compared: what is surely worse, how surely, and what a longer one would bring."""

import math

import numpy as np
import pytest

from playbook.procedures.lengths import Length, _scatter, read_lengths

STEPS = (250, 500, 750, 1000, 1250, 1500, 1750, 2000)


def lengths(losses, examples=None):
    examples = [None] * len(losses) if examples is None else examples
    return [Length(steps, loss, each) for steps, loss, each in zip(STEPS, losses, examples, strict=False)]


def test_the_scatter_about_a_smooth_curve_is_the_noise_of_a_length():
    rng = np.random.default_rng(0)
    smooth = 0.05 + 0.3 * np.divide(STEPS, 250.0) ** -0.7
    assert _scatter(lengths(smooth)) < 1e-4  # no curvature is taken for noise
    assert _scatter(lengths(smooth[:4])) is None
    found = [_scatter(lengths(smooth + rng.normal(0, 0.01, len(STEPS)))) for _ in range(400)]
    assert math.sqrt(np.mean(np.square(found))) == pytest.approx(0.01, rel=0.1)


def test_intervals_hold_and_nothing_is_called_worse_where_all_are_equal():
    rng = np.random.default_rng(1)
    covered, wrong = [], 0
    for _ in range(300):
        found = read_lengths(lengths(rng.normal(0.1, 0.01, len(STEPS))))
        covered += [each.low <= 0 <= each.high for each in found.differences]
        wrong += found.verdict != "cannot tell"
    assert np.mean(covered) >= 0.92  # the differences of a repetition have the longest in common
    assert wrong / 300 <= 0.05


def test_pairs_of_examples_are_compared_as_agresti_and_min_do():
    one, other = np.zeros(100), np.zeros(100)
    one[:12], other[10:14] = 1, 1  # 10 that only the first misses, 2 that only the other does
    (found,) = read_lengths([Length(10, one.mean(), one), Length(20, other.mean(), other)]).differences
    worse, better, count = 10.5, 2.5, 102
    centre = (worse - better) / count
    half = 1.959964 * math.sqrt(((worse + better) - (worse - better) ** 2 / count) / count**2)
    assert found.worse == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), rel=1e-5)
    (equal,) = read_lengths([Length(10, 0.0, np.zeros(100)), Length(20, 0.0, np.zeros(100))]).differences
    assert equal.low < 0 < equal.high  # no example that differs is not the knowledge that none would


def test_losses_are_compared_example_by_example():
    rng = np.random.default_rng(2)
    shared = rng.normal(1, 1, 400)
    one, other = shared + 0.05 + rng.normal(0, 0.1, 400), shared
    (found,) = read_lengths([Length(10, one.mean(), one), Length(20, other.mean(), other)]).differences
    half = 1.959964 * (one - other).std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((found.worse - half, found.worse + half), rel=1e-4)
    assert found.low > 0


def bits(*missed, count=1000):
    """Examples of which so many are missed, the same ones first."""
    found = []
    for num in missed:
        found.append(np.zeros(count))
        found[-1][:num] = 1
    return found


def of_bits(*missed):
    examples = bits(*missed)
    return lengths([each.mean() for each in examples], examples)


def test_enough_is_the_first_length_that_is_not_surely_worse():
    found = read_lengths(of_bits(100, 60, 31, 30))
    assert (found.verdict, found.enough) == ("enough", 750)
    assert read_lengths(of_bits(100, 80, 60, 30)).verdict == "longer"
    assert read_lengths(of_bits(32, 31, 31, 30)).verdict == "cannot tell"
    assert read_lengths(of_bits(32)).verdict == "cannot tell"
    # A length in between that looks worse, after one that does not, is luck or noise: the order is fixed beforehand.
    assert read_lengths(of_bits(31, 60, 31, 30)).verdict == "cannot tell"


def test_with_a_margin_what_differs_by_less_is_enough():
    same = of_bits(100, 33, 31, 30)
    assert read_lengths(same, margin=0.02).enough == 500
    assert read_lengths(same, margin=0.2).enough == 250
    assert read_lengths(of_bits(32, 31, 31, 30), margin=0.01).enough == 250
    assert read_lengths(of_bits(32, 31, 31, 30), margin=1e-4).verdict == "cannot tell"


def test_infeasible_lengths_are_left_out():
    some = of_bits(100, 60, 31, 30)
    some[1] = Length(500, None)
    assert [each.steps for each in read_lengths(some).differences] == [250, 750]


def test_the_outlook_is_that_of_the_law_that_made_the_lengths():
    law = np.array([0.02 + 0.5 * steps**-0.5 for steps in STEPS])
    examples = [np.full(5000, each) + np.random.default_rng(3).normal(0, 1e-4, 5000) for each in law]
    found = read_lengths(lengths(law, examples)).outlook
    truth = 0.5 * (2000**-0.5 - 4000**-0.5)
    assert found.gain == pytest.approx(truth, rel=0.02)
    assert found.points[-1][0] == pytest.approx(4000)
    assert found.points[-1][1] == pytest.approx(0.02 + 0.5 * 4000**-0.5, rel=0.01)
    rng, covered, asked = np.random.default_rng(4), 0, 0
    for _ in range(60):
        outlook = read_lengths(lengths(law + rng.normal(0, 2e-4, len(law)), examples)).outlook
        if outlook is not None:
            asked, covered = asked + 1, covered + (outlook.low <= truth <= outlook.high)
    assert asked > 40
    assert covered / asked >= 0.85


def test_no_outlook_without_a_trend_or_a_range():
    assert "5 lengths" in read_lengths(of_bits(100, 60, 31, 30)).why_no_outlook
    assert "no trend" in read_lengths(lengths([0.1, 0.11, 0.1, 0.09, 0.1, 0.1])).why_no_outlook
    close = [Length(steps, 0.1) for steps in (1000, 1100, 1200, 1300, 1400)]
    assert "less than 3 times" in read_lengths(close).why_no_outlook
