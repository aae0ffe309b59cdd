"""A dimension spreads the unit interval evenly over its values, on its scale and in the user's types."""

import math
from collections import Counter
from decimal import Decimal, localcontext

import numpy as np
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from playbook.errors import InputError
from playbook.study.space import Choice, Float, Int, dimension, identity

UNIT = st.floats(0, 1, exclude_max=True)
FLOATS = st.one_of(
    st.builds(Float, st.floats(-1e6, -1), st.floats(1, 1e6)),
    st.builds(Float, st.floats(1e-12, 1e-3), st.floats(1e-2, 1e6), st.just("log")),
    st.builds(Float, st.floats(0, 0.5), st.floats(0.6, 1 - 1e-12), st.just("log_one_minus")),
)
NARROW = st.one_of(
    st.builds(lambda low, width: Float(low, low + width), st.floats(-100, 100), st.floats(1e-12, 1e-6)),
    st.builds(lambda low, share: Float(low, low * (1 + share), "log"), st.floats(1e-9, 1e3), st.floats(1e-12, 1e-3)),
    st.builds(lambda high: Float(0, high, "log_one_minus"), st.floats(1e-15, 1e-3)),
)


def place(dimension: Float, value: float) -> Decimal:
    """Where a value is on the scale, to 60 digits."""
    exact = Decimal(value)
    with localcontext(prec=60):
        return {"linear": lambda: +exact, "log": exact.ln, "log_one_minus": lambda: -(1 - exact).ln()}[
            dimension.scale
        ]()


def significant_digits(number: Decimal) -> int:
    return len(number.normalize().as_tuple().digits)


@given(dimension=FLOATS, u=UNIT, v=UNIT)
def test_a_float_stays_in_its_range_and_keeps_the_order(dimension, u, v):
    assert dimension.low <= dimension.at(u) <= dimension.high
    if u < v:
        assert dimension.at(u) <= dimension.at(v)


@given(dimension=st.one_of(FLOATS, NARROW), u=UNIT)
def test_a_value_is_within_a_millionth_of_the_range_from_its_place_on_the_scale(dimension, u):
    value = dimension.at(u)
    low, high, at = (place(dimension, each) for each in (dimension.low, dimension.high, value))
    off = float(abs(at - (low + Decimal(u) * (high - low))))
    steepness = {"linear": 1.0, "log": value, "log_one_minus": 1 - value}[dimension.scale]
    of_floats = 4 * math.ulp(value) / steepness + 4 * math.ulp(max(abs(float(low)), abs(float(high))))
    assert off <= 1.0001e-6 * float(high - low) + of_floats
    assert dimension.position(value) == pytest.approx(u, abs=1.0001e-6 + 2 * of_floats / float(high - low))


@given(u=UNIT)
def test_a_value_can_be_read_aloud(u):
    assert significant_digits(Decimal(repr(Float(1e-5, 1, "log").at(u)))) <= 6
    assert significant_digits(1 - Decimal(repr(Float(0, 0.9999, "log_one_minus").at(u)))) <= 6
    assert len(repr(Float(-1, 1).at(u)).lstrip("-")) <= len("0.123456")
    assert Float(-1e8, 1e8).at(u).is_integer()


def test_a_value_has_no_noise_of_floats():
    beta = Float(0.9, 0.99999, "log_one_minus")
    values = [beta.at(k / 7) for k in range(1, 7)]
    assert [f"{value:.12g}" for value in values] == [repr(value) for value in values]
    assert Float(1e-4, 0.1, "log").at(1 / 3) == 0.001


def test_a_narrow_range_keeps_its_precision():
    linear, log = Float(1e6, 1e6 + 1e-6), Float(1.0, 1.0 + 1e-13, "log")
    beta = Float(0, 1e-14, "log_one_minus")
    assert {linear.at(k / 10_000) for k in range(10_001)} == {1e6 + k * math.ulp(1e6) for k in range(8591)}
    assert {log.at(k / 10_000) for k in range(10_001)} == {1 + k * math.ulp(1.0) for k in range(451)}
    assert [beta.at(k / 1000) for k in range(1001)] == pytest.approx([1e-17 * k for k in range(1001)], rel=1e-9)


def test_equal_steps_of_u_are_equal_steps_on_the_scale():
    lrs = [Float(1e-4, 1.0, "log").at(k / 4) for k in range(4)]
    np.testing.assert_allclose(lrs, [1e-4, 1e-3, 1e-2, 1e-1])
    betas = [Float(0.9, 0.9999, "log_one_minus").at(k / 3) for k in range(3)]
    np.testing.assert_allclose(betas, [0.9, 0.99, 0.999])
    np.testing.assert_allclose([Float(-1, 3).at(k / 4) for k in range(4)], [-1, 0, 1, 2])


def test_the_ends_are_reached_exactly():
    low, high = 0.123456789123, 0.923456789123
    ends = [(0.1, 0.3, "linear"), (1e-5, 0.1, "log"), (0.9, 0.999, "log_one_minus")]
    ends += [(low, high, scale) for scale in ("linear", "log", "log_one_minus")]
    for low, high, scale in ends:
        assert Float(low, high, scale).at(0.0) == low
        assert Float(low, high, scale).at(1.0) == high


@given(low=st.integers(-50, 50), count=st.integers(1, 40), u=UNIT)
def test_a_linear_int_gives_every_number_the_same_share(low, count, u):
    dimension = Int(low, low + count - 1)
    assert dimension.at(u) == low + int(u * count)
    assert type(dimension.at(u)) is int
    assert dimension.size == count


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


def test_values_of_another_type_are_other_values():
    values = [1, 1.0, True, "1", None, "null", [1], [True], [[1]], {"a": 1}, {"a": 1.0}, {"b": 1}]
    assert len({identity(value) for value in values}) == len(values)
    assert identity({"a": 1, "b": [2]}) == identity({"b": [2], "a": 1})
    assert Choice((0, 1)) != Choice((False, True))
    assert Choice(([1],)) == Choice(([1],))
    assert hash(Choice(([1],))) == hash(Choice(([1],)))


@pytest.mark.parametrize(
    "dimension_", [Float(np.float64(0), np.int64(1)), Float(1, 8, "log"), Int(np.int64(1), 8.0), Int(1, 8, "log")]
)
def test_values_and_ends_are_plain_numbers(dimension_):
    number = int if isinstance(dimension_, Int) else float
    assert {type(dimension_.at(u)) for u in (0.0, 0.3, 0.999)} == {number}
    assert yaml.safe_load(yaml.safe_dump(dimension_.plain())) == dimension_.plain()


@given(
    dimension_=st.one_of(
        FLOATS,
        NARROW,
        st.builds(lambda low, more: Int(low, low + more), st.integers(-(10**9), 10**9), st.integers(0, 10**9)),
        st.builds(lambda low, more: Int(low, low + more, "log"), st.integers(1, 10**9), st.integers(0, 10**9)),
        st.builds(
            lambda values: Choice(tuple(values)),
            st.lists(
                st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.just([1])),
                min_size=1,
                unique_by=identity,
            ),
        ),
    )
)
def test_a_yaml_file_gives_back_the_dimension(dimension_):
    assert dimension(yaml.safe_load(yaml.safe_dump(dimension_.plain())), "x") == dimension_


def test_a_yaml_file_may_leave_out_the_scale_and_write_whole_numbers():
    assert dimension({"min": 0, "max": 1}, "x") == Float(0.0, 1.0)
    assert dimension({"min": "1e-4", "max": 1, "scale": "log"}, "x") == Float(1e-4, 1.0, "log")  # text for YAML 1.1
    assert dimension({"min": 2.0, "max": 4, "type": "int"}, "x") == Int(2, 4)
    assert dimension(("a", None), "x") == Choice(("a", None))


@pytest.mark.parametrize(
    ("block", "lines"),
    [
        (0.1, ["lr: 0.1: a range {min: 1e-4, max: 0.1, scale: log} or a [list, of, choices] is needed"]),
        (None, ["lr: null: a range {min: 1e-4, max: 0.1, scale: log} or a [list, of, choices] is needed"]),
        ([], ["lr: an empty list of choices: at least one is needed"]),
        (["a", "b", "a"], ["lr: the choice 'a' is there twice"]),
        ({"min": 1}, ["lr.max: a value is needed; add lr.max=<a finite number>"]),
        (
            {"min": "small", "max": True, "scale": "logarithmic"},
            [
                "lr.min=small: allowed is a finite number",
                "lr.scale=logarithmic: allowed is one of linear, log, log_one_minus",
            ],
        ),
        ({"min": 0, "max": True}, ["lr.max=true: allowed is a finite number"]),
        ({"min": 0, "max": math.inf}, ["lr.max=inf: allowed is a finite number"]),
        ({"min": 0, "max": 1, "type": "integer"}, ["lr.type=integer: allowed is one of float, int"]),
        ({"min": 1, "max": 0}, ["lr: 1.0 to 0.0: the lower end must be below the upper one"]),
        (
            {"min": 0, "max": 1, "scale": "log"},
            ["lr: 0.0 to 1.0 on a log scale: the lower end must be above 0"],
        ),
        ({"min": 0.5, "max": 3, "type": "int"}, ["lr: 0.5 to 3.0: whole numbers are needed"]),
        (
            {"min": 0, "max": 3, "type": "int", "scale": "log_one_minus"},
            [
                "lr: scale: log_one_minus is for real numbers below 1; allowed with type: int: linear, log",
            ],
        ),
    ],
)
def test_a_fault_in_a_yaml_file_is_a_line_with_its_key(block, lines):
    with pytest.raises(InputError) as refused:
        dimension(block, "lr")
    assert str(refused.value).splitlines() == lines


@pytest.mark.parametrize("name", ["step", 1])
def test_an_unknown_key_of_a_range_is_named(name):
    with pytest.raises(InputError, match=rf"^lr\.{name}=2: there is no such key; .*there are lr.max, lr.min, lr.scale"):
        dimension({"min": 0, "max": 1, name: 2}, "lr")


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
        (lambda: Float(-1e308, 1e308), "both ends must be finite"),
        (lambda: Float(5e-324, 1e-323), "5e-324 to 1e-323: too narrow to be searched"),
        (lambda: Float(1e10, math.nextafter(1e10, 2e10), "log"), "too narrow to be searched"),
        (lambda: Int(1, math.inf), "1 to inf: whole numbers are needed"),
        (lambda: Int(False, 4), "false to 4: whole numbers are needed"),
        (lambda: Int(5, 4), "5 to 4: the lower end must not be above the upper one"),
        (lambda: Int(0, 4, "log"), "0 to 4 on a log scale: the lower end must be 1 or more"),
        (lambda: Choice(()), "at least one is needed"),
        (lambda: Choice((1, 2, 1)), "the choice 1 is there twice"),
        (lambda: Choice(([1], [1])), "the choice [1] is there twice"),
    ],
)
def test_what_cannot_be_searched_is_one_line(make, line):
    with pytest.raises(InputError) as refused:
        make()
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


# Where a value lies.

RANGES = [Float(-2.0, 6.0), Float(1e-5, 1.0, "log"), Float(0.0, 0.999, "log_one_minus"), Int(1, 9), Int(2, 512, "log")]


@pytest.mark.parametrize("dimension_", RANGES, ids=repr)
def test_a_value_lies_where_its_quasi_random_number_has_put_it(dimension_):
    cell = 0 if isinstance(dimension_, Float) else (dimension_.position(3) - dimension_.position(2))  # the widest
    for u in np.linspace(0.01, 0.99, 50):
        assert dimension_.position(dimension_.at(u)) == pytest.approx(u, abs=max(cell, 1e-5))


@pytest.mark.parametrize("dimension_", RANGES, ids=repr)
def test_edges_divide_a_range_into_cells_of_one_width(dimension_):
    edges = dimension_.edges(4)
    assert [dimension_.position(each) for each in edges] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    half = 0.5 if isinstance(dimension_, Int) else 0
    assert (edges[0], edges[-1]) == (dimension_.low - half, dimension_.high + half)
    for each in edges[1:-1]:
        assert dimension_.from_scale(dimension_.to_scale(each)) == pytest.approx(each)


def test_what_lies_beyond_a_scale_lies_beyond_its_range():
    assert Float(1e-4, 1e-1, "log").position(0.0) == -math.inf
    assert Float(0.5, 0.99, "log_one_minus").position(1.0) == math.inf
    assert Int(1, 8, "log").position(0) == -math.inf


def test_a_list_of_numbers_has_cells_of_one_width_and_the_scale_of_its_steps():
    rates = Choice((0.1, 0.001, 0.01, 1))
    assert [rates.position(each) for each in (0.001, 0.01, 0.1, 1)] == [0.125, 0.375, 0.625, 0.875]
    assert (rates.scale, Choice((0.1, 0.2, 0.9)).scale, Choice((0, 100)).scale) == ("log", "linear", "linear")


@pytest.mark.parametrize(
    ("dimension_", "size", "is_ordered"),
    [
        (Float(0, 1), None, True),
        (Int(3, 5), 3, True),
        (Int(3, 3), 1, False),
        (Choice((1, 2.5)), 2, True),
        (Choice((1,)), 1, False),
        (Choice((1, True)), 2, False),
        (Choice((1, None)), 2, False),
        (Choice(("1", "2")), 2, False),
    ],
)
def test_sizes_and_orders(dimension_, size, is_ordered):
    assert (dimension_.size, dimension_.is_ordered) == (size, is_ordered)
