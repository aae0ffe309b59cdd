"""A dimension spreads the unit interval evenly over its values, on its scale and in the user's types."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from playbook.errors import InputError
from playbook.study.space import Choice, Float, Int, size

UNIT = st.floats(0, 1, exclude_max=True)
FLOATS = st.one_of(
    st.builds(Float, st.floats(-1e6, -1), st.floats(1, 1e6)),
    st.builds(Float, st.floats(1e-12, 1e-3), st.floats(1e-2, 1e6), st.just("log")),
    st.builds(Float, st.floats(0, 0.5), st.floats(0.6, 1 - 1e-12), st.just("log_one_minus")),
)


@given(dimension=FLOATS, u=UNIT, v=UNIT)
def test_a_float_stays_in_its_range_and_keeps_the_order(dimension, u, v):
    assert dimension.low <= dimension.at(u) <= dimension.high
    if u < v:
        assert dimension.at(u) <= dimension.at(v)


@given(dimension=FLOATS, u=UNIT)
def test_position_undoes_at(dimension, u):
    assert dimension.position(dimension.at(u)) == pytest.approx(u, abs=1e-6)


def test_equal_steps_of_u_are_equal_steps_on_the_scale():
    lrs = [Float(1e-4, 1.0, "log").at(k / 4) for k in range(4)]
    np.testing.assert_allclose(lrs, [1e-4, 1e-3, 1e-2, 1e-1])
    betas = [Float(0.9, 0.9999, "log_one_minus").at(k / 3) for k in range(3)]
    np.testing.assert_allclose(betas, [0.9, 0.99, 0.999])
    np.testing.assert_allclose([Float(-1, 3).at(k / 4) for k in range(4)], [-1, 0, 1, 2])


def test_the_ends_are_reached_exactly():
    for dimension in (Float(0.1, 0.3), Float(1e-5, 0.1, "log"), Float(0.9, 0.999, "log_one_minus")):
        assert dimension.at(0.0) == dimension.low
        assert dimension.at(1.0) == dimension.high


@given(low=st.integers(-50, 50), count=st.integers(1, 40), u=UNIT)
def test_a_linear_int_gives_every_number_the_same_share(low, count, u):
    dimension = Int(low, low + count - 1)
    assert dimension.at(u) == low + int(u * count)
    assert type(dimension.at(u)) is int
    assert size(dimension) == count


def test_a_log_int_gives_each_number_its_share_of_the_log_scale():
    dimension, n = Int(1, 100, "log"), 200_000
    counts = Counter(dimension.at((k + 0.5) / n) for k in range(n))
    assert set(counts) == set(range(1, 101))
    whole = math.log(100.5) - math.log(0.5)
    for value, count in counts.items():
        assert count / n == pytest.approx((math.log(value + 0.5) - math.log(value - 0.5)) / whole, abs=2 / n)


@given(values=st.lists(st.integers(), min_size=1, max_size=9, unique=True), u=UNIT)
def test_choices_have_the_same_share(values, u):
    assert Choice(tuple(values)).at(u) == values[int(u * len(values))]


def test_choices_keep_their_types():
    values = (None, True, 1, 1.0, "1", "null", [1, 2])
    assert [Choice(values).at((k + 0.5) / 7) for k in range(7)] == list(values)
    assert [type(Choice(values).at((k + 0.5) / 7)) for k in range(7)] == [type(value) for value in values]


@given(low=st.floats(-1e3, 1e3), high=st.floats(-1e3, 1e3))
def test_an_empty_range_is_refused(low, high):
    assume(low >= high)
    with pytest.raises(InputError, match="the lower end must be below the upper one"):
        Float(low, high)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: Float(0.0, 1.0, "log"), "0.0 to 1.0 on a log scale: the lower end must be above 0"),
        (lambda: Float(0.9, 1.0, "log_one_minus"), "both ends must be in"),
        (lambda: Float(0.0, math.inf), "both ends must be finite"),
        (lambda: Int(5, 4), "5 to 4: the lower end must not be above the upper one"),
        (lambda: Int(0, 4, "log"), "0 to 4 on a log scale: the lower end must be 1 or more"),
        (lambda: Choice(()), "at least one is needed"),
        (lambda: Choice((1, 2, 1)), "the choice 1 is there twice"),
    ],
)
def test_what_cannot_be_searched_is_one_line(make, line):
    with pytest.raises(InputError) as refused:
        make()
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
