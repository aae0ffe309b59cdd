"""A wider range goes far enough, and no further than there are values."""

import pytest

from playbook.analysis.remedies import round_up, widened
from playbook.study.space import Choice, Float, Int

CASES = [
    (Float(1e-4, 1e-1, "log"), "lower", Float(1e-5, 1e-1, "log")),
    (Float(1e-4, 1e-1, "log"), "upper", Float(1e-4, 1.0, "log")),
    (Float(0.9, 0.99, "log_one_minus"), "upper", Float(0.9, 0.999, "log_one_minus")),
    (Float(0.99, 0.999, "log_one_minus"), "lower", Float(0.9, 0.999, "log_one_minus")),
    (Float(0.8, 0.999, "log_one_minus"), "lower", Float(0.0, 0.999, "log_one_minus")),
    (Float(0.0, 0.9, "log_one_minus"), "lower", None),
    (Float(0.0, 0.5), "upper", Float(0.0, 0.75)),  # a dropout stays below 1
    (Float(0.0, 0.2), "upper", Float(0.0, 0.4)),
    (Float(0.0, 0.5), "lower", None),  # 0 is as low as it goes
    (Float(0.1, 0.5), "lower", Float(0.01, 0.5)),
    (Float(5.0, 8.0), "lower", Float(2.0, 8.0)),
    (Float(-1.0, 1.0), "lower", Float(-3.0, 1.0)),
    (Float(0.0, 10.0), "upper", Float(0.0, 20.0)),
    (Int(32, 512, "log"), "upper", Int(32, 2048, "log")),
    (Int(2, 8, "log"), "lower", Int(1, 8, "log")),
    (Int(1, 8, "log"), "lower", None),
    (Int(1, 4), "upper", Int(1, 8)),
    (Int(1, 4), "lower", None),
    (Int(0, 4), "lower", None),
    (Int(6, 8), "lower", Int(3, 8)),
    (Choice((0.001, 0.01, 0.1)), "lower", Choice((1e-05, 0.0001, 0.001, 0.01, 0.1))),
    (Choice((0.001, 0.01, 0.1)), "upper", Choice((0.001, 0.01, 0.1, 1.0, 10.0))),
    (Choice((0.1, 0.2, 0.4)), "upper", Choice((0.1, 0.2, 0.4, 0.8))),
    (Choice((1, 2, 4, 8)), "upper", Choice((1, 2, 4, 8, 16, 32))),
    (Choice((1, 2, 4, 8)), "lower", None),
    (Choice((10, 20, 30)), "upper", Choice((10, 20, 30, 40, 50))),
    (Choice((0.1, 0.2, 0.3)), "lower", Choice((0.025, 0.05, 0.1, 0.2, 0.3))),
    (Choice((0.0, 1e-4, 1e-3)), "upper", Choice((0.0, 1e-4, 1e-3, 1e-2, 0.1))),
    (Choice((0.0, 1e-4, 1e-3)), "lower", None),
    (Choice((0.0, 0.25, 0.5)), "upper", Choice((0.0, 0.25, 0.5, 0.75))),
    (Choice((1, 2, 4, 8, 16, 32, 64, 128)), "upper", Choice((4, 8, 16, 32, 64, 128, 256, 512))),
    (Choice(("relu", "tanh")), "upper", None),
    (Choice((3,)), "upper", None),
]


@pytest.mark.parametrize(("dimension", "end", "wider"), CASES, ids=lambda each: str(each))
def test_a_wider_range(dimension, end, wider):
    assert widened(dimension, end) == wider


def test_step_numbers_are_rounded_up_to_two_digits():
    assert [round_up(n) for n in (0, 1, 9, 10, 99, 100.1, 1234, 99_001)] == [1, 1, 9, 10, 99, 110, 1300, 100_000]
