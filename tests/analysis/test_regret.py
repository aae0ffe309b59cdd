"""The regret: what trials are compared by, whatever their objective's scale, direction and monsters."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_tables import tables

from playbook.analysis.regret import WORST, comparable, losses, regret, robust
from playbook.study.space import Float

SPACE = {"lr": Float(1e-4, 1e-1, "log")}
NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def test_the_best_is_zero_the_typical_one_and_what_failed_two():
    loss = np.array([3.0, 1.0, 2.0, np.inf, 50.0])
    assert regret(loss) == pytest.approx([2.0 / 1.5, 0.0, 1.0 / 1.5, WORST, WORST])


@given(NUMBERS)
def test_the_order_is_kept_and_all_lies_in_zero_to_two(numbers):
    loss = np.array(numbers)
    lost = regret(loss)
    assert ((lost >= 0) & (lost <= WORST)).all()
    assert lost[loss.argmin()] == 0
    ordered = lost[loss.argsort(kind="stable")]
    assert (np.diff(ordered) >= 0).all()


@pytest.mark.parametrize("monsters", [1, 4])
def test_monsters_change_nothing_for_the_others(monsters):
    usual = np.array([0.30, 0.35, 0.4, 0.5, 0.9, 2.3])
    both = np.concatenate([usual, 1e17 * np.arange(1, monsters + 1), [1e300]])
    assert regret(both)[:6].tolist() == regret(usual).tolist()
    assert (regret(both)[6:] == WORST).all()


def test_chance_level_beside_a_good_error_is_no_monster():
    errors = np.array([0.02, 0.021, 0.022, 0.03, 0.9, 0.9])
    assert len(robust(errors)) == 6


def test_all_equal_none_finite_and_the_largest_floats():
    assert regret(np.array([0.5, 0.5, 0.5])).tolist() == [0, 0, 0]
    assert regret(np.array([np.inf, np.inf])).tolist() == [WORST, WORST]
    assert regret(np.array([-1.7e308, 1.0, 1.7e308])).tolist() == [0.0, 1.0, WORST]
    assert regret(np.array([1.0, 1.0, 1.0, 3.0])).tolist() == [0, 0, 0, 1]


def test_losses_turn_round_a_maximum_and_leave_crashes_out():
    found = tables([0.9, None, 0.5, 0.7], {"lr": [0.1] * 4}, SPACE, mode="max")
    status = pl.Series("status", ["complete", "infeasible", "crashed", "complete"])
    kept = comparable(found.trials.with_columns(status))
    assert losses(kept, found.sign).tolist() == [-0.9, np.inf, -0.7]
