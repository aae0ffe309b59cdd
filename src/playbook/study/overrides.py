"""Hydra's sweep grammar, in and out: a sweep becomes a dimension, a setting an override, a trial the
command line that runs it again.

The meanings are those of Hydra's Optuna sweeper (`range` stops before its end, as from Hydra 1.4 on), with what that
one ignores or loses mended: types are kept, `null` is a choice, a range steps without drift and in both directions,
and a scale on a list is an error. This is the one file of the room that knows Hydra.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
)
from hydra.errors import HydraException

from playbook.config import SAME_WHATEVER
from playbook.errors import InputError, one_line
from playbook.study.space import Choice, Dimension, Float, Int, Scale, Value, dimension
from playbook.validation import show

if TYPE_CHECKING:
    from playbook.study.design import Design

SCALES = ("log", "log_one_minus")
"""The tags of an interval; without one it is linear."""
LARGEST_LIST = 10_000
"""Numbers of a `range`: one longer is an interval."""

_EXAMPLE = "tag(log, interval(1e-4, 1e-1)), int(interval(1, 8)), range(1, 9) or choice(relu, gelu)"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_RESERVED = ("null", "true", "false", "inf", "nan")


def dimension_of(override: Override) -> Dimension:
    """What a sweep of the command line searches.

    `shuffle` asks for another order at every call; the quasi-random sequence has one of its own, so that the values
    keep the order in which they were written, and the same command means the same study.

    Raises:
        InputError: one line with the sweep as it was typed.
    """
    try:
        if override.is_delete():
            raise InputError("a sweep gives a key several values; it cannot take the key away")
        return _dimension(override)
    except InputError as error:
        raise InputError(f"{override.input_line}: {error}") from None


def read_dimension(given: Any, key: str) -> Dimension:
    """The dimension that stands at `key` in a YAML file: a text in Hydra's grammar, a range, or a list.

    Raises:
        InputError: the key, what was given and what is allowed.
    """
    return dimension_from_text(given, key) if isinstance(given, str) else dimension(given, key)


def is_sweep(text: str) -> bool:
    """Whether a text of a YAML file is one in Hydra's sweep grammar, and not a value."""
    try:
        return OverridesParser.create().parse_override(f"key={text.strip()}").is_sweep_override()
    except HydraException:
        return False


def dimension_from_text(text: str, key: str) -> Dimension:
    """What `key: tag(log, interval(1e-4, 1e-1))` searches, in a study file.

    Raises:
        InputError: one line with the key and the text.
    """
    shown = " ".join(text.split())
    try:
        override = OverridesParser.create().parse_override(f"key={text.strip()}")
        if not override.is_sweep_override():
            raise InputError(
                f"one value is nothing to search; allowed is a [list, of, choices] or a text as {_EXAMPLE}"
            )
        return _dimension(override)
    except HydraException as error:
        said = one_line(error)
        raise InputError(f"{key}: {shown}: Hydra cannot read it ({said}); allowed is a text as {_EXAMPLE}") from None
    except InputError as error:
        raise InputError(f"{key}: {shown}: {error}") from None


def as_override(key: str, value: Value) -> str:
    """The word of a command line that sets a key to exactly this value, of this type. A shell may need it quoted.

    A text with `${…}` stays one: OmegaConf reads it as an interpolation, in quotes or not.

    Raises:
        InputError: Hydra has no way to write the value: a date, a dict with a key such as "1" or "a b".
    """
    return f"{key}={_text(value, key)}"


def override_key(word: str) -> str:
    """The key that an override sets: `lr` of `lr=0.1`, `+lr=0.1` and `~lr`."""
    return word.lstrip("+~").partition("=")[0]


def sweep_override(key: str, dimension: Dimension) -> str:
    """The word of a command line that sweeps a key over a dimension: `dimension_of` gives it back.

    Raises:
        InputError: as `word`; and Hydra cannot sweep over a single null.
    """
    if isinstance(dimension, Choice):
        text = ",".join(_text(value, key) for value in dimension.values)
        if dimension.values == (None,):
            raise InputError(f"{key}: Hydra cannot sweep over a single null; type {key}=null")
        text = text if len(dimension.values) > 1 else f"choice({text})"
    else:
        text = f"interval({dimension.low},{dimension.high})"
        if isinstance(dimension, Int):
            text = f"int({text})"
        if dimension.scale != "linear":
            text = f"tag({dimension.scale},{text})"
    return f"{key}={text}"


def _dimension(override: Override) -> Dimension:
    given = cast(Any, override.value())
    tags = _tags(override)
    if isinstance(given, IntervalSweep):
        return _range(given, tags)
    if tags:
        raise InputError(f"tag({', '.join(tags)}, …) is for an interval(…); a list of values has no scale")
    if isinstance(given, Glob):
        return Choice(_options(override, given))
    if isinstance(given, RangeSweep):
        return Choice(_numbers(override, given))
    assert isinstance(given, ChoiceSweep)
    return Choice(tuple(_plain(each) for each in given.list))


def _range(given: IntervalSweep, tags: list[str]) -> Float | Int:
    if unknown := [tag for tag in tags if tag not in SCALES]:
        raise InputError(f"there is no tag {unknown[0]}; allowed are {', '.join(SCALES)}, or none for a linear scale")
    if len(tags) > 1:
        raise InputError(f"two scales, {' and '.join(tags)}; allowed is one")
    scale = cast(Scale, tags[0] if tags else "linear")
    low, high = given.start, given.end
    if not isinstance(low, int) or not isinstance(high, int):
        return Float(cast(float, low), cast(float, high), scale)
    if scale == "log_one_minus":
        raise InputError("log_one_minus is for real numbers below 1; allowed for whole ones are log, or none")
    return Int(low, high, scale)


def _tags(override: Override) -> list[str]:
    """Every different tag that was written, sorted. Hydra forgets those of a list that is cast, and a tag in a tag."""
    assert override.input_line is not None
    parser = OverridesParser.create()
    tag = parser.functions.functions["tag"]
    written: set[str] = set()

    def noted(*given: Any, sweep: Sweep | None = None) -> Sweep:
        written.update(each for each in given if isinstance(each, str))
        return tag(*given, sweep=sweep)

    parser.functions.functions["tag"] = noted
    parser.parse_override(override.input_line)
    return sorted(written)


def _options(override: Override, given: Glob) -> tuple[Value, ...]:
    """The options of a config group that a `glob` selects."""
    if override.config_loader is None:
        raise InputError("glob(…) selects options of a config group on the command line; here, list them")
    options = tuple(override.sweep_iterator())
    if not options:
        raise InputError(f"no option of a config group {override.key_or_group} matches {', '.join(given.include)}")
    return options


def _numbers(override: Override, given: RangeSweep) -> tuple[Value, ...]:
    """The numbers of a `range`.

    Hydra 1.3 adds up the binary fractions, so that its range(0.1,1.1,0.1) comes to 1.1, and Hydra 1.4 the decimal ones;
    it is given decimals here, of 15 digits, since `sort` has added fractions before.
    """
    ends: dict[str, Any] = {"start": given.start, "stop": given.stop, "step": given.step}
    if not all(math.isfinite(end) for end in ends.values()) or given.step == 0:
        raise InputError("allowed are finite numbers and a step that is not 0")
    whole = all(isinstance(end, int) for end in ends.values())
    if not whole:
        ends = {name: Decimal(f"{end:.15g}") for name, end in ends.items()}
    exact = replace(override, _value=replace(given, shuffle=False, **ends))
    numbers = tuple(islice(exact.sweep_iterator(), LARGEST_LIST + 1))
    if not numbers:
        raise InputError("there is no number in it; a negative step goes from a larger number to a smaller one")
    if len(numbers) > LARGEST_LIST:
        last = range(*ends.values())[-1] if whole else given.stop
        low, high = sorted((cast(float, given.start), cast(float, last)))
        instead = f"int(interval({low},{high}))" if whole else f"interval({low},{high})"
        raise InputError(f"a list of more than {LARGEST_LIST} numbers; type {instead} instead")
    return numbers


def _plain(value: Any) -> Value:
    """A value as Hydra parsed it, quoted texts as texts."""
    if isinstance(value, (Sweep, Glob)):
        raise InputError("a sweep within a list of choices; allowed there are values")
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _text(value: Value, key: str) -> str:
    """A value in Hydra's grammar; `key` is for the line that says what cannot be written."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return value if _is_plain(value) else QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(_text(each, key) for each in value)}]"
    if not isinstance(value, Mapping):
        raise InputError(f"{key}={value!r}: a {type(value).__name__} cannot be written on a command line")
    for name in value:
        if isinstance(name, str) and not _is_plain(name):  # the grammar has no quotes for it
            raise InputError(f"{key}={value!r}: the name {name!r} in it cannot be written on a command line")
    return f"{{{','.join(f'{_text(name, key)}:{_text(each, key)}' for name, each in value.items())}}}"


def _is_plain(text: str) -> bool:
    """Whether a text reads as itself without quotes."""
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _RESERVED


DEFAULT_PROGRAM = "train.py"


def trial_overrides(design: Design, settings: Mapping[str, Value]) -> list[str]:
    """The overrides of a trial: what the study fixes by words, then its own settings."""
    return [*design.overrides, *(as_override(key, value) for key, value in settings.items())]


def with_overrides(design: Design, overrides: Sequence[str]) -> Design:
    """The design with further overrides for every trial, whose values are fixed by them."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = {each.key_or_group: each.value() for each in parsed}
    return replace(design, overrides=(*design.overrides, *overrides), fixed={**design.fixed, **values})


def refuse_contradictions(design: Design) -> None:
    """What a hand may have written into a study's file and no command line could have.

    Raises:
        InputError: an override says where trials write, or sets a number or word that is fixed to another one.
    """
    last = {}  # of each key, as the config has it
    for text in design.overrides:
        try:
            override = OverridesParser.create().parse_override(str(text))
        except HydraException:  # no trial can be run with it, and what has been run can be read
            continue
        key, given = override.get_key_element().lstrip("+~"), override.value()
        if (key == "output_dir" and given is not None) or key.partition(".")[0].partition("/")[0] == "hydra":
            raise InputError(f"overrides: {text}: the study says where its trials write")
        last[key] = (text, given.text if isinstance(given, QuotedString) else given)
    for key, (text, given) in last.items():
        fixed = None if key in SAME_WHATEVER else design.fixed.get(key)
        if _kind(given) == _kind(fixed) is not None and given != fixed:
            raise InputError(f"overrides: {text}: the study's trials have {key}={show(fixed)}, as fixed says")


def _kind(value: object) -> str | None:
    """Of a number, or a word that is no path and not to be resolved: they stand in an override as in a config."""
    if isinstance(value, str):
        return None if set(value) & {"/", "\\", "$", "~"} else "word"
    return "number" if isinstance(value, int | float) else None


def program_of(command: str) -> str:
    """The program that a study was run with; `train.py` where a procedure ran it."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that does not end
        words = command.split()
    scripts = [each for each in words if each.endswith(".py")]
    return scripts[0] if scripts and Path(scripts[0]).parent.name != "scripts" else DEFAULT_PROGRAM


def shell_line(*words: str) -> str:
    """The words for a shell, with double quotes around single ones, which reads better than what shlex does."""
    return " ".join(
        f'"{each}"' if "'" in each and not set(each) & set('"$`\\!') else shlex.quote(each) for each in words
    )
