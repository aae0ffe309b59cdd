"""Where a value lies in its range: the inverse of the number that made it."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbook.analysis.position import positions
from playbook.study.space import Choice, Float, Int

RANGES = [
    Float(1e-5, 1e2, "log"),
    Float(0.5, 0.999, "log_one_minus"),
    Float(-2.0, 3.0),
    Int(1, 1000, "log"),
    Int(0, 7),
    Choice((0.1, 0.3, 1.0, 3.0)),
]


@pytest.mark.parametrize("dimension", RANGES, ids=str)
@given(u=st.floats(0, 1, exclude_max=True))
def test_a_value_lies_where_it_was_drawn(dimension, u):
    (found,) = positions(pl.Series([dimension.at(u)]), dimension)
    # A value in the middle of its cell is at most half a cell off; the 1 of 1 to 1000 owns a seventh of the log scale.
    cell = {Int(1, 1000, "log"): np.log(3) / np.log(2001), Int(0, 7): 1 / 8, RANGES[-1]: 1 / 4}.get(dimension, 0.0)
    assert found == pytest.approx(u, abs=cell * 0.64 + 1e-5)


def test_outside_the_range_is_at_its_end_and_what_is_no_number_nowhere():
    assert positions(pl.Series([1e-9, 1e9, -1.0, 0.0]), RANGES[0]).tolist() == [0, 1, 0, 0]
    assert positions(pl.Series([0.1, 1.0, 1.5]), RANGES[1]).tolist() == [0, 1, 1]
    assert np.isnan(positions(pl.Series([None, 0.5]), RANGES[2])).tolist() == [True, False]


@pytest.mark.parametrize("dimension", RANGES, ids=str)
def test_many_values_lie_where_each_does(dimension):
    values = [0.1, 1, 3.0, 0.0, -5.0, 0.75, 1e9, 7.5]
    alone = [min(max(dimension.position(value), 0), 1) for value in values]
    assert positions(pl.Series(values, strict=False), dimension) == pytest.approx(alone)
    mixed = pl.Series([*values, None, True, "auto"], dtype=pl.Object)
    found = positions(mixed, dimension)
    assert found[:-3] == pytest.approx(alone)
    assert np.isnan(found[-3:]).all()
    assert np.isnan(positions(pl.Series([None, np.nan, np.inf], dtype=pl.Float64), dimension)).all()


def test_what_has_an_order():
    assert all(each.is_ordered for each in RANGES)
    assert not any(each.is_ordered for each in (Choice(("a", "b")), Choice((1,)), Choice((True, False)), Int(3, 3)))
    assert not Choice((1, None)).is_ordered
