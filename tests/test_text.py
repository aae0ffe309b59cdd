"""Numbers, counts and lists read as a person would write them."""

import pytest

from playbook.text import brief, count, duration, listed, number, with_error


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (26.4, "26 s"),
        (99, "99 s"),
        (100, "2 min"),
        (3569, "59 min"),
        (3570, "1 h"),
        (4800, "1 h 20 min"),
        (86400, "1 day, 0 h"),
        (86400 * 2 + 3 * 3600, "2 days, 3 h"),
    ],
)
def test_a_duration_is_as_precise_as_an_estimate(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (0.99951234, "0.9995123"),
        (1e-6, "1e-06"),
        (True, "true"),
        (None, "null"),
        ("x" * 61, "x" * 60 + "…"),
        ([64, 64], "[64, 64]"),
    ],
)
def test_a_value_is_brief(value, text):
    assert brief(value) == text


def test_a_number_that_is_not_there_is_a_dash():
    assert (number(None), number(0.123456)) == ("–", "0.1235")


def test_one_is_singular():
    assert [count(how_many, "trial") for how_many in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]


@pytest.mark.parametrize(
    ("names", "text"),
    [("a", "a"), ("ab", "a and b"), ("abcd", "a, b, c and d"), ("abcde", "a, b, c and 2 more")],
)
def test_a_list_of_many_is_cut(names, text):
    assert listed(list(names)) == text


def test_a_number_comes_with_its_standard_error():
    assert with_error(0.025069, 0.008263) == "0.02507 ± 0.0083"
    assert [with_error(0.5, None), with_error(0.0, 0.0), with_error(None, 0.1)] == ["0.5", "0", "–"]
