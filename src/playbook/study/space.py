"""What a hyperparameter may be: a range on a scale, or a list of choices.

A dimension turns a number u in [0, 1) into a value, evenly on its scale, so that a quasi-random point becomes a
setting of the hyperparameters. Values have the type that the user wrote: an int stays an int, `null` stays None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from playbook.errors import InputError

Scale = Literal["linear", "log", "log_one_minus"]
Value = Any
"""A number, a text, a truth value, None, or a list of such: what a config key can hold."""


@dataclass(frozen=True)
class Float:
    """A real number from `low` to `high`, even on `scale`.

    `log` suits what is felt by its order of magnitude (a learning rate), `log_one_minus` what approaches one (momentum,
    a β): it is even in log(1 − x).
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"{self.low} to {self.high} on a log scale: the lower end must be above 0")
        if self.scale == "log_one_minus" and not 0 <= self.low < self.high < 1:
            raise InputError(f"{self.low} to {self.high} on a log_one_minus scale: both ends must be in [0, 1)")

    def at(self, u: float) -> float:
        """The value at u in [0, 1)."""
        low, high = self.to_scale(self.low), self.to_scale(self.high)
        value = self.from_scale(low + u * (high - low))
        return min(max(value, self.low), self.high)  # exp(log(x)) may miss x by the last bit

    def position(self, value: float) -> float:
        """Where a value lies: 0 at the lower end, 1 at the upper; outside the range below 0 or above 1."""
        low, high = self.to_scale(self.low), self.to_scale(self.high)
        return (self.to_scale(value) - low) / (high - low)

    def to_scale(self, value: float) -> float:
        """The value where the scale is even."""
        if self.scale == "log":
            return math.log(value)
        return -math.log1p(-value) if self.scale == "log_one_minus" else value

    def from_scale(self, value: float) -> float:
        """The inverse of `to_scale`."""
        if self.scale == "log":
            return math.exp(value)
        return -math.expm1(-value) if self.scale == "log_one_minus" else value


@dataclass(frozen=True)
class Int:
    """A whole number from `low` to `high`, both included, each as likely as its share of the scale."""

    low: int
    high: int
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if isinstance(self.low, bool) or isinstance(self.high, bool):
            raise InputError(f"{self.low} to {self.high}: whole numbers are needed")
        if self.low > self.high:
            raise InputError(f"{self.low} to {self.high}: the lower end must not be above the upper one")
        if self.scale == "log" and self.low < 1:
            raise InputError(f"{self.low} to {self.high} on a log scale: the lower end must be 1 or more")

    def at(self, u: float) -> int:
        """The value at u in [0, 1): each whole number owns the half on either side of it."""
        if self.scale == "linear":
            return self.low + math.floor(u * (self.high - self.low + 1))
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        value = math.floor(math.exp(low + u * (high - low)) + 0.5)
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of `values`, in the order and the types that the user wrote."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("an empty list of choices: at least one is needed")
        seen: list[Value] = []
        for value in self.values:
            if any(_same(value, other) for other in seen):
                raise InputError(f"the choice {value!r} is there twice")
            seen.append(value)

    def at(self, u: float) -> Value:
        """The value at u in [0, 1)."""
        return self.values[math.floor(u * len(self.values))]


Dimension = Float | Int | Choice


def size(dimension: Dimension) -> int | None:
    """How many values there are; None for a continuum."""
    if isinstance(dimension, Choice):
        return len(dimension.values)
    return dimension.high - dimension.low + 1 if isinstance(dimension, Int) else None


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{low} to {high}: both ends must be finite")
    if low >= high:
        raise InputError(f"{low} to {high}: the lower end must be below the upper one")


def _same(one: Value, other: Value) -> bool:
    """Equality that tells 1 from true and 1.0."""
    return type(one) is type(other) and bool(one == other)
