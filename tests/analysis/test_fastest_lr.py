"""Which lr of a sweep is the fastest, on sweeps whose answer is known: steps fall as 1/lr up to where it diverges."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.analysis.fastest_lr import SweptTrial, enough_for_all, fastest, steps_to


def sweep(lrs, *, best=0.1, longest=2000, eval_every=10):
    """Steps are 100 · best / lr below `best`, and trials beyond twice `best` diverge."""
    trials = []
    for lr in lrs:
        steps = math.ceil(100 * best / lr / eval_every) * eval_every
        if lr > 2 * best:
            trials.append(SweptTrial(lr, None, None))
        else:
            arrived = steps <= longest
            trials.append(SweptTrial(lr, steps if arrived else None, best / lr))
    return trials


def between(low, high, count):
    return [low * (high / low) ** (place / (count - 1)) for place in range(count)]


@settings(max_examples=30)
@given(st.integers(6, 40), st.randoms())
def test_an_inner_best_is_found_whatever_the_order(count, random):
    lrs = between(0.001, 10, count)
    random.shuffle(lrs)
    found = fastest(sweep(lrs), 10)
    assert found.trial is not None
    assert found.arrived
    assert found.edge is None
    assert found.trial.lr == max(lr for lr in lrs if lr <= 0.2)


@pytest.mark.parametrize(
    ("low", "high", "edge", "arrived"),
    [
        (0.001, 0.1, "high", True),  # cut below what diverges: faster still may come
        (0.0001, 0.003, "high", False),  # and so low that none arrives
        (0.15, 0.19, "both", True),  # too narrow to tell
        (0.15, 10, "low", True),
        (1, 10, "low", False),  # all diverge
    ],
)
def test_a_range_that_is_cut_says_on_which_side(low, high, edge, arrived):
    found = fastest(sweep(between(low, high, 9)), 10)
    assert found.edge == edge
    assert found.arrived == arrived


def test_where_none_arrives_inside_the_range_no_side_is_blamed():
    trials = [SweptTrial(lr, None, abs(math.log(lr)) + 1) for lr in (0.1, 0.5, 1.0, 2.0, 10.0)]
    found = fastest(trials, 10)
    assert found.edge is None
    assert not found.arrived
    assert found.trial is not None
    assert found.trial.lr == 1.0


def test_a_neighbour_at_the_edge_that_a_seed_could_make_faster_counts_as_the_edge():
    inner = [SweptTrial(0.01, 900, 0.1), SweptTrial(0.1, 100, 0.1)]
    assert fastest([*inner, SweptTrial(1.0, 120, 0.1)], 10).edge == "high"
    assert fastest([*inner, SweptTrial(1.0, 200, 0.1)], 10).edge is None
    assert fastest([*inner, SweptTrial(1.0, 200, 0.1)], 100).edge == "high"  # a look later is no later


@pytest.mark.parametrize(
    ("errors", "steps"),
    [
        ([1, 0, 0, 0, 0, 0], 10),
        ([1, 0, 1, 0, 0, 0, 0], 30),  # once by chance is not there
        ([1, 1, 0, 0, 0, 1, 0], 20),  # held for as long again
        ([1, 1, 1, 1, 0], 40),  # where the trial ends
        ([1, 1, 1], None),
    ],
)
def test_a_trial_has_arrived_when_it_stays_for_as_long_again(errors, steps):
    assert steps_to(0, [(10 * place, error) for place, error in enumerate(errors)]) == steps


def test_a_number_of_steps_that_is_enough_finds_each_of_the_seeds_at_the_target():
    slow, early = [1, 1, 1, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0, 0]
    curves = [[(10 * place, error) for place, error in enumerate(errors)] for errors in (slow, early)]
    assert [steps_to(0, curve) for curve in curves] == [30, 10]
    assert enough_for_all(0, curves) == 40  # at 30 the early one makes a mistake again
    assert enough_for_all(0, [*curves, [(0, 1.0), (10, 1.0)]]) is None
