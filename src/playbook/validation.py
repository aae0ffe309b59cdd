"""Checks values against a pydantic model and says what is wrong in the user's words.

pydantic finds the faults; the lines are made from the *field*, so that every message of a key says the same thing:
what was given and everything that is allowed there.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticInvalidForJsonSchema,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo

from playbook.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

STRICT = ConfigDict(
    extra="forbid",
    allow_inf_nan=False,
    frozen=True,
    arbitrary_types_allowed=True,
    protected_namespaces=(),
    validate_default=True,
)


def validate(schema: type[Model], given: Mapping[str, Any], key: str = "") -> Model:
    """An instance of `schema` made of `given`, which stands at `key` in the config.

    Raises:
        InputError: a line for each fault: the key, the value and what is allowed.
    """
    try:
        checked = schema.model_validate(dict(given))
    except ValidationError as error:
        raise InputError("\n".join(_lines(error, schema, key))) from None
    if switches := list(_switches_for_numbers(given, checked, key)):
        raise InputError("\n".join(switches))
    return checked


def unknown_key(path: str, known: Sequence[str], noun: str = "key", given: str = "") -> str:
    """The line for a key (or an option) that does not exist: the likeliest spelling, then all that there are.

    `given` is what was typed, where that is more than the path.
    """
    names = sorted(name for name in known if not name.endswith("_target_"))
    close = difflib.get_close_matches(path, names, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{given or path}: there is no such {noun}; {hint}there are {', '.join(names) or 'none'}"


def join(*parts: Any) -> str:
    """A config key from its parts, the empty ones left out."""
    return ".".join(str(part) for part in parts if part != "")


def show(value: Any) -> str:
    """A value as one would type it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = str(value)
    return text if text.isprintable() else repr(text)


def _lines(error: ValidationError, schema: type[BaseModel], key: str) -> Iterator[str]:
    said = set()
    for fault in error.errors(include_url=False):
        owner, depth = _owner(schema, fault["loc"])
        name = fault["loc"][depth] if depth < len(fault["loc"]) else ""
        path = join(key, *fault["loc"][: depth + 1])
        if path in said:  # a union reports each of its branches
            continue
        said.add(path)
        if fault["type"] == "extra_forbidden":
            known = [join(key, *fault["loc"][:depth], field) for field in owner.model_fields]
            yield unknown_key(path, known, given=f"{path}={show(fault['input'])}")
        elif fault["type"] == "missing" and depth + 1 == len(fault["loc"]):
            yield f"{path}: a value is needed; add {path}=<{_allowed(owner.model_fields[str(name)]) or 'value'}>"
        elif fault["type"] == "value_error":
            yield f"{path}={show(fault['input'])}: {fault['ctx']['error']}" if path else str(fault["ctx"]["error"])
        else:
            allowed = _allowed(owner.model_fields[str(name)]) or fault["msg"]
            indices = [part for part in fault["loc"][depth + 1 :] if isinstance(part, int)]
            yield f"{path}{''.join(f'[{index}]' for index in indices)}={show(fault['input'])}: allowed is {allowed}"


def _owner(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[type[BaseModel], int]:
    """The innermost model on the way to a fault and how deep its field lies."""
    for depth, part in enumerate(location):
        field = schema.model_fields.get(str(part))
        inner = field.annotation if field else None
        if not _is_model(inner) or depth + 1 == len(location):
            return schema, depth
        schema = inner  # type: ignore[assignment]
    return schema, len(location)


def _switches_for_numbers(given: Mapping[str, Any], checked: BaseModel, key: str) -> Iterator[str]:
    """`true` where a number is asked for: pydantic takes it for a 1."""
    for name, value in given.items():
        read = getattr(checked, name, value)
        if isinstance(read, BaseModel) and isinstance(value, Mapping):
            yield from _switches_for_numbers(value, read, join(key, name))
            continue
        field = type(checked).model_fields.get(name)
        for index, (before, after) in _pairs(value, read):
            if isinstance(before, bool) and not isinstance(after, bool) and field is not None:
                yield f"{join(key, name)}{index}={show(before)}: allowed is {_allowed(field)}"


def _pairs(given: Any, read: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """A value before and after, or each one of a list's with its index."""
    if isinstance(given, list) and isinstance(read, (list, tuple)):
        yield from ((f"[{index}]", pair) for index, pair in enumerate(zip(given, read, strict=True)))
    else:
        yield "", (given, read)


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _allowed(field: FieldInfo) -> str:
    """What a field takes, in words; empty where its type has no description."""
    annotation: Any = field.annotation
    if field.metadata:
        annotation = Annotated[(annotation, *field.metadata)]
    try:
        return _describe(TypeAdapter(annotation, config=None).json_schema())
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, TypeError):
        return ""


def _describe(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_describe(branch) for branch in schema["anyOf"]))
    if "const" in schema:
        return show(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(show(value) for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        inner = schema.get("items") or {}
        if "prefixItems" in schema:
            return f"a list of {len(schema['prefixItems'])}: " + ", ".join(map(_describe, schema["prefixItems"]))
        return f"a list of {_describe(inner)}" if inner else "a list"
    if kind in ("number", "integer"):
        bounds = [
            f"{sign} {schema[name]}"
            for name, sign in (
                ("exclusiveMinimum", ">"),
                ("minimum", ">="),
                ("exclusiveMaximum", "<"),
                ("maximum", "<="),
            )
            if name in schema
        ]
        noun = "a whole number" if kind == "integer" else "a finite number"
        return " ".join([noun, " and ".join(bounds)]) if bounds else noun
    if kind == "string" and schema.get("minLength"):
        return "text that is not empty"
    names = {"boolean": "true or false", "null": "null", "string": "text", "object": "a block of keys"}
    return names.get(str(kind), "anything")
