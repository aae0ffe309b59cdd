"""What a hyperparameter may be: a range on a scale, or a list of choices.

A dimension turns a number u in [0, 1) into a value, evenly on its scale, so that a quasi-random point becomes a
setting of the hyperparameters. Values have the type that the user wrote: an int stays an int, `null` stays None.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

import numpy as np
from pydantic import BaseModel

from playbook.errors import InputError
from playbook.validation import STRICT, show, validate

Scale = Literal["linear", "log", "log_one_minus"]
Value = Any
"""A number, a text, a truth value, None, or a list of such: what a config key can hold."""
RESOLUTION = 1e-6
"""A value is rounded by at most this share of its range, on its scale: 0.00273842 can be read aloud and typed again."""
NARROWEST = sys.float_info.min / RESOLUTION
"""Width on its scale from which on a range can be divided so finely."""


class _Scaled:
    """What has a scale: what is even in x, in log x, or in log(1 − x)."""

    scale: Scale

    def to_scale(self, value: float) -> float:
        """The value where the scale is even; infinite for what lies beyond the scale (log of 0)."""
        if self.scale == "log":
            return math.log(value) if value > 0 else -math.inf
        if self.scale == "log_one_minus":
            return -math.log1p(-value) if value < 1 else math.inf
        return value

    def from_scale(self, place: float) -> float:
        """The inverse of `to_scale`."""
        if self.scale == "log":
            return math.exp(place)
        return -math.expm1(-place) if self.scale == "log_one_minus" else place


@dataclass(frozen=True)
class Float(_Scaled):
    """A real number from `low` to `high`, even on `scale`.

    `log` suits what is felt by its order of magnitude (a learning rate), `log_one_minus` what approaches one (momentum,
    a β): it is even in log(1 − x).
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))
        _check_range(self.low, self.high)
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"{self.low} to {self.high} on a log scale: the lower end must be above 0")
        if self.scale == "log_one_minus" and not 0 <= self.low < self.high < 1:
            raise InputError(f"{self.low} to {self.high} on a log_one_minus scale: both ends must be in [0, 1)")
        if self.to_scale(self.high) - self.to_scale(self.low) < NARROWEST:
            raise InputError(f"{self.low} to {self.high}: too narrow to be searched; a float holds no steps in between")

    def at(self, u: float) -> float:
        """The value at u in [0, 1], rounded by at most `RESOLUTION`; the ends are exact."""
        if u <= 0 or u >= 1:
            return self.low if u <= 0 else self.high
        low, high = self.to_scale(self.low), self.to_scale(self.high)
        place = low + u * (high - low)
        value = round(self.from_scale(place), self._decimals(place))
        return min(max(value, self.low), self.high)

    def _decimals(self, place: float) -> int:
        """How many decimals show a place on the scale to within `RESOLUTION`.

        On a log scale half a unit of digit d after the first one is at most 10^-d / 2 of the value (of 1 − value), and
        as much on the scale; there are never less than six digits.
        """
        width = self.to_scale(self.high) - self.to_scale(self.low)
        digits = math.ceil(-math.log10(2 * RESOLUTION * width) - 1e-9)  # the same on every machine at a power of 10
        if self.scale == "linear":
            return max(digits, 0)
        magnitude = place if self.scale == "log" else -place  # of the value, of 1 − value
        return max(digits, 5) - math.floor(magnitude / math.log(10))

    def position(self, value: float) -> float:
        """Where a value lies: 0 at the lower end, 1 at the upper; outside the range below 0 or above 1."""
        low, high = self.to_scale(self.low), self.to_scale(self.high)
        return (self.to_scale(value) - low) / (high - low)

    def edges(self, count: int) -> list[float]:
        """The ends of `count` cells that divide the range evenly on its scale: `count` + 1 numbers."""
        low, high = self.to_scale(self.low), self.to_scale(self.high)
        inner = [self.from_scale(low + (high - low) * place / count) for place in range(1, count)]
        return [self.low, *inner, self.high]

    @property
    def size(self) -> None:
        """How many values there are: a continuum."""
        return None

    @property
    def is_ordered(self) -> bool:
        """Whether the values have an order, and there is more than one."""
        return True

    def plain(self) -> Any:
        """As a YAML file holds it: `{min, max, scale}`."""
        return {"min": self.low, "max": self.high, "scale": self.scale}


@dataclass(frozen=True)
class Int(_Scaled):
    """A whole number from `low` to `high`, both included, each as likely as its share of the scale."""

    low: int
    high: int
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if any(isinstance(end, bool) or not math.isfinite(end) or end != int(end) for end in (self.low, self.high)):
            raise InputError(f"{show(self.low)} to {show(self.high)}: whole numbers are needed")
        object.__setattr__(self, "low", int(self.low))
        object.__setattr__(self, "high", int(self.high))
        if self.low > self.high:
            raise InputError(f"{self.low} to {self.high}: the lower end must not be above the upper one")
        if self.scale == "log" and self.low < 1:
            raise InputError(f"{self.low} to {self.high} on a log scale: the lower end must be 1 or more")

    def at(self, u: float) -> int:
        """The value at u in [0, 1): each whole number owns the half on either side of it."""
        if self.scale == "linear":
            value = self.low + math.floor(u * (self.high - self.low + 1))
        else:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = math.floor(math.exp(low + u * (high - low)) + 0.5)
        return min(max(value, self.low), self.high)

    def position(self, value: float) -> float:
        """Where a value lies: in the middle of its cell, of cells that divide the scale from 0 to 1."""
        low, high = self.to_scale(self.low - 0.5), self.to_scale(self.high + 0.5)
        return (self.to_scale(value) - low) / (high - low)

    def edges(self, count: int) -> list[float]:
        """The ends of `count` cells that divide the range, half a step beyond both ends, evenly on its scale."""
        return Float(self.low - 0.5, self.high + 0.5, self.scale).edges(count)

    @property
    def size(self) -> int:
        """How many values there are."""
        return self.high - self.low + 1

    @property
    def is_ordered(self) -> bool:
        """Whether there is more than one value."""
        return self.size > 1

    def plain(self) -> Any:
        """As a YAML file holds it: `{min, max, scale, type: int}`."""
        return {"min": self.low, "max": self.high, "scale": self.scale, "type": "int"}


@dataclass(frozen=True)
class Choice(_Scaled):
    """One of `values`, in the order and the types that the user wrote."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError("an empty list of choices: at least one is needed")
        seen = set()
        for value in self.values:
            if (name := identity(value)) in seen:
                raise InputError(f"the choice {value!r} is there twice")
            seen.add(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and identity(self.values) == identity(other.values)

    def __hash__(self) -> int:
        return hash(identity(self.values))

    def at(self, u: float) -> Value:
        """The value at u in [0, 1)."""
        return self.values[math.floor(u * len(self.values))]

    def position(self, value: float) -> float:
        """Where a number lies among the numbers of an ordered list: in the middle of its cell, whatever their ratios.

        Of four learning rates the lowest lies at 1/8, as it would in the middle of the lowest quarter of a range.
        """
        ordered = sorted(self.values)
        return (float(np.interp(value, ordered, range(len(ordered)))) + 0.5) / len(ordered)

    @property
    def low(self) -> Any:
        """The least value of an ordered list."""
        return min(self.values)

    @property
    def high(self) -> Any:
        """The largest value of an ordered list."""
        return max(self.values)

    @property
    def scale(self) -> Scale:  # type: ignore[override]  # of an ordered list, by its values
        """That of the steps of an ordered list: `log` where positive numbers span a factor of ten."""
        return "log" if self.low > 0 and self.high / self.low >= 10 else "linear"

    @property
    def size(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def is_ordered(self) -> bool:
        """Whether these are numbers, and more than one."""
        return len(self.values) > 1 and all(is_number(value) for value in self.values)

    def plain(self) -> Any:
        """As a YAML file holds it: a list."""
        return list(self.values)


Dimension = Float | Int | Choice


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a finite number; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def dimension(given: Any, key: str) -> Dimension:
    """The dimension that stands at `key` in a YAML file.

    Raises:
        InputError: a line for each fault: the key, what was given and what is allowed.
    """
    if isinstance(given, Mapping):
        block = validate(_Range, {str(name): each for name, each in given.items()}, key)
    elif not isinstance(given, (list, tuple)):
        raise InputError(
            f"{key}: {show(given)}: a range {{min: 1e-4, max: 0.1, scale: log}} or a [list, of, choices] is needed"
        )
    try:
        if not isinstance(given, Mapping):
            return Choice(tuple(given))
        if block.type == "float":
            return Float(block.min, block.max, block.scale)
        if block.scale == "log_one_minus":
            raise InputError("scale: log_one_minus is for real numbers below 1; allowed with type: int: linear, log")
        return Int(block.min, block.max, block.scale)  # type: ignore[arg-type]  # whole numbers, or it is refused
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def identity(value: Value) -> Hashable:
    """What makes two values the same: 1, 1.0, true and "1" are four."""
    if isinstance(value, Mapping):
        return dict, frozenset((identity(key), identity(each)) for key, each in value.items())
    if isinstance(value, (list, tuple)):
        return list, *map(identity, value)
    return type(value), value


class _Range(BaseModel):
    """A range as a YAML file holds it."""

    model_config = STRICT

    min: float
    max: float
    scale: Scale = "linear"
    type: Literal["float", "int"] = "float"


def _check_range(low: float, high: float) -> None:
    if not math.isfinite(high - low):
        raise InputError(f"{low} to {high}: both ends must be finite")
    if low >= high:
        raise InputError(f"{low} to {high}: the lower end must be below the upper one")
