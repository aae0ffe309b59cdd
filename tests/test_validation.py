"""What the user reads for each kind of value: the key, what was given, and everything that is allowed there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from playbook.errors import InputError
from playbook.validation import STRICT, join, show, unknown_key, validate


class Inner(BaseModel):
    model_config = STRICT
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    mode: Literal["min", "max"] = "min"


class Everything(BaseModel):
    """A field of each kind that a component can ask for."""

    model_config = STRICT
    count: PositiveInt = 1
    number: float = 1.0
    bounded: Annotated[float, Field(ge=0, lt=1)] = 0.0
    at_least: NonNegativeFloat = 0.0
    optional: PositiveInt | None = None
    auto: PositiveInt | Literal["auto"] = "auto"
    choice: Literal["a", "b"] = "a"
    one: Literal["only"] = "only"
    mixed: Literal[1, "two", True] = 1
    text: str = ""
    named: Annotated[str, Field(min_length=1)] = "x"
    either: str | float = "x"
    switch: bool = False
    switch_or_number: bool | float = False
    numbers: list[PositiveInt] = []
    pair: tuple[float, float] = (0.0, 0.0)
    table: dict[str, float] = {}
    inner: Inner = Inner()
    inner_or_none: Inner | None = None
    anything: Any = None
    foreign: complex | None = None


def message(**given_: Any) -> str:
    with pytest.raises(InputError) as error:
        validate(Everything, given_, "model")
    return str(error.value)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"count": 0}, "model.count=0: allowed is a whole number > 0"),
        ({"count": 1.5}, "model.count=1.5: allowed is a whole number > 0"),
        ({"count": "x"}, "model.count=x: allowed is a whole number > 0"),
        ({"count": None}, "model.count=null: allowed is a whole number > 0"),
        ({"count": float("inf")}, "model.count=inf: allowed is a whole number > 0"),
        ({"number": float("nan")}, "model.number=nan: allowed is a finite number"),
        ({"number": "-inf"}, "model.number=-inf: allowed is a finite number"),
        ({"bounded": 1}, "model.bounded=1: allowed is a finite number >= 0 and < 1"),
        ({"at_least": -0.1}, "model.at_least=-0.1: allowed is a finite number >= 0"),
        ({"optional": 0}, "model.optional=0: allowed is a whole number > 0 or null"),
        ({"auto": "all"}, "model.auto=all: allowed is a whole number > 0 or auto"),
        ({"choice": "A"}, "model.choice=A: allowed is one of a, b"),
        ({"one": "other"}, "model.one=other: allowed is only"),
        ({"mixed": 3}, "model.mixed=3: allowed is one of 1, two, true"),
        ({"text": 3}, "model.text=3: allowed is text"),
        ({"either": [1]}, "model.either=[1]: allowed is text or a finite number"),
        ({"switch": "maybe"}, "model.switch=maybe: allowed is true or false"),
        ({"numbers": 3}, "model.numbers=3: allowed is a list of a whole number > 0"),
        ({"numbers": [1, 0]}, "model.numbers[1]=0: allowed is a list of a whole number > 0"),
        ({"inner": 3}, "model.inner=3: allowed is a block of keys"),
        ({"inner": {"rate": 0}}, "model.inner.rate=0: allowed is a finite number > 0 and <= 1"),
        ({"inner": {"mode": "avg"}}, "model.inner.mode=avg: allowed is one of min, max"),
    ],
)
def test_the_line_of_each_kind(given_: dict[str, Any], expected: str) -> None:
    assert message(**given_) == expected


@pytest.mark.parametrize(
    ("given_", "parts"),
    [
        ({"named": ""}, ["model.named=", "empty"]),
        ({"pair": [1]}, ["model.pair", "2"]),
        ({"pair": [1, 2, 3]}, ["model.pair", "2"]),
        ({"pair": [1, "x"]}, ["model.pair[1]=x", "number"]),
        ({"table": 3}, ["model.table=3", "block"]),
        ({"inner": {"rat": 1}}, ["model.inner.rat", "did you mean model.inner.rate?"]),
        ({"foreign": "x"}, ["model.foreign=x"]),
        ({"chioce": "a"}, ["model.chioce", "did you mean model.choice?"]),
    ],
)
def test_what_else_a_line_says(given_: dict[str, Any], parts: list[str]) -> None:
    for part in parts:
        assert part in message(**given_)


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("name", ["count", "number", "bounded", "at_least", "optional", "auto", "either", "text"])
def test_a_switch_is_no_number(name: str, switch: bool) -> None:
    assert message(**{name: switch}).startswith(f"model.{name}={show(switch)}: allowed is ")


@pytest.mark.parametrize(
    ("given_", "path"),
    [
        ({"numbers": [1, True]}, "model.numbers[1]=true"),
        ({"pair": [0.5, False]}, "model.pair[1]=false"),
        ({"inner": {"rate": True}}, "model.inner.rate=true"),
        ({"inner_or_none": {"rate": True}}, "model.inner_or_none.rate=true"),
    ],
)
def test_a_switch_inside_something_is_no_number_either(given_: dict[str, Any], path: str) -> None:
    assert path in message(**given_)


@pytest.mark.parametrize("name", ["switch", "switch_or_number", "anything"])
def test_a_switch_where_one_is_asked_for(name: str) -> None:
    assert getattr(validate(Everything, {name: True}), name) is True


def test_numbers_are_taken_as_people_write_them() -> None:
    read = validate(
        Everything, {"count": 1e3, "number": 3, "optional": "7", "auto": "12", "numbers": [2.0], "either": 1.5}
    )
    assert (read.count, read.number, read.optional, read.auto, read.numbers) == (1000, 3.0, 7, 12, [2])
    assert type(read.count) is int
    assert type(read.number) is float
    assert read.either == 1.5


def test_every_fault_has_a_line_and_one_alone() -> None:
    faults = {"count": 0, "auto": "x", "switch": "x", "text": 3, "nope": 1, "inner": {"rate": 0, "mode": "x"}}
    lines = message(**faults).splitlines()
    paths = [line.split(":")[0].split("=")[0].removeprefix("model.") for line in lines]
    assert sorted(paths) == ["auto", "count", "inner.mode", "inner.rate", "nope", "switch", "text"]


def test_a_needed_value() -> None:
    class Needs(BaseModel):
        model_config = STRICT
        width: PositiveInt
        path: str

    with pytest.raises(InputError) as error:
        validate(Needs, {}, "data")
    assert str(error.value).splitlines() == [
        "data.width: a value is needed; add data.width=<a whole number > 0>",
        "data.path: a value is needed; add data.path=<text>",
    ]


def test_the_words_of_a_validator_are_kept() -> None:
    class Judges(BaseModel):
        model_config = STRICT
        a: int = 0
        b: int = 0

        @field_validator("a")
        @classmethod
        def _even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("give an even number")
            return value

        @model_validator(mode="after")
        def _together(self) -> Judges:
            if self.a > self.b:
                raise ValueError("a must not be more than b")
            return self

    with pytest.raises(InputError, match=r"^model\.a=3: give an even number$"):
        validate(Judges, {"a": 3}, "model")
    with pytest.raises(InputError, match=r"^model.*a must not be more than b$"):
        validate(Judges, {"a": 2}, "model")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("two\nlines"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=4,
)
JARGON = (
    "pydantic",
    "validation error",
    "Input should",
    "type=",
    "<class",
    "Traceback",
    "Annotated",
    "unable to parse",
)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from([*Everything.model_fields, "nope"]), value=VALUES)
def test_whatever_is_given_is_taken_or_refused_in_the_users_words(name: str, value: Any) -> None:
    try:
        validate(Everything, {name: value}, "model")
    except InputError as error:
        lines = str(error).splitlines()
        assert all(line.startswith(f"model.{name}") for line in lines)
        assert not any(word in line.replace(show(value), "") for line in lines for word in JARGON)


def test_a_value_with_a_line_break_makes_one_line() -> None:
    assert len(message(choice="two\nlines").splitlines()) == 1
    assert len(message(count="a\r\nb\u2028c").splitlines()) == 1


def test_unknown_key_hints_at_the_likeliest_and_lists_all() -> None:
    known = ["lr", "batch_size", "model.width", "model._target_"]
    assert unknown_key("lrr", known) == (
        "lrr: there is no such key; did you mean lr? there are batch_size, lr, model.width"
    )
    assert unknown_key("zzz", known) == "zzz: there is no such key; there are batch_size, lr, model.width"
    assert unknown_key("a=b", [], "option") == "a=b: there is no such option; there are none"


def test_join_and_show() -> None:
    assert join("", "model", "", "width", 3) == "model.width.3"
    assert [show(value) for value in (None, True, False, 0, 1, 0.5, "x", [1])] == [
        "null",
        "true",
        "false",
        "0",
        "1",
        "0.5",
        "x",
        "[1]",
    ]
