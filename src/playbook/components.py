"""A component is a class named by a `_target_`: resolved only from trusted places, checked against its own signature.

A fork's own class needs nothing but an annotated `__init__`: the annotations, with their bounds
(`dropout: Annotated[float, Field(ge=0, lt=1)]`), are the schema of its config block, so that an unknown key, a wrong
type or a value out of bounds is refused, by its config key, before anything is created.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum
from pathlib import PurePath
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from playbook.errors import InputError, one_line
from playbook.project import PROJECT_FILE, own_packages
from playbook.validation import STRICT, join, show, validate

_LIBRARIES = ("playbook.", "torch.optim.", "torch.nn.", "torchmetrics.", "pytorch_lightning.")


def trusted_prefixes() -> tuple[str, ...]:
    """Where a `_target_` may come from: the template, its libraries, and the packages that a fork calls its own."""
    return (*_LIBRARIES, *(f"{name}." for name in own_packages()))


@dataclass(frozen=True)
class Component:
    """A checked config block: the class that it names, as a dotted path, and the arguments that it gives."""

    key: str
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def build(self, **supplied: Any) -> Any:
        """The instance, from the block's arguments and those of `supplied` that the class takes.

        Raises:
            InputError: what the constructor says, in a `ValueError`, of a combination that annotations cannot express.
        """
        cls = resolve(self.target, self.key)
        accepted = takes(cls)
        used = {name: value for name, value in supplied.items() if accepted is None or name in accepted}
        try:
            return cls(
                **used, **{name: _build_inner(value, join(self.key, name)) for name, value in self.arguments.items()}
            )
        except InputError:
            raise
        except TypeError as error:
            if not inspect.isabstract(cls):
                raise
            missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
            raise InputError(f"{self.key}._target_={self.target}: this class still has to define {missing}") from error
        except ValueError as error:
            words = one_line(error)
            raise InputError(words if words.startswith(f"{self.key}.") else f"{self.key}: {words}") from error

    def plain(self) -> dict[str, Any]:
        """The block as it stands in a config file."""
        return {"_target_": self.target, **{name: _as_read(value) for name, value in self.arguments.items()}}


def check(block: Any, key: str, supplied: frozenset[str] = frozenset()) -> Component:
    """The block at `key` with its values in the types that the class's signature asks for.

    `supplied` names the parameters that the program gives on `build`; a block may not.

    Raises:
        InputError: a line for each fault, with the key, the value and what is allowed.
    """
    if not isinstance(block, Mapping) or "_target_" not in block:
        raise InputError(f"{key}={show(block)}: a block with a _target_ is needed; choose one with {key}=<option>")
    given = {str(name): value for name, value in block.items() if name != "_target_"}
    for path, inner in _inner_blocks(given, key):
        check(inner, path)
    cls = resolve(block["_target_"], key)
    for name in sorted(supplied.intersection(given)):
        raise InputError(f"{join(key, name)}={show(given[name])}: the program supplies this; remove it")
    # What holds a block with a _target_ becomes an instance when it is built; the signature speaks of that instance.
    plain = {name: value for name, value in given.items() if not any(_inner_blocks(value, key))}
    checked = validate(_schema(cls, supplied, given.keys() - plain.keys()), given, key)
    values = {name: getattr(checked, name) for name in given}
    return Component(key=key, target=str(block["_target_"]), arguments=values)


def resolve(target: Any, key: str) -> type:
    """The class behind a dotted path, from a trusted package only.

    The prefix is checked before anything is imported, and where the class itself was defined after:
    `playbook.run_files.os.system` begins well and ends somewhere else.
    """
    given = f"{key}._target_={target}"
    trusted = trusted_prefixes()
    if not isinstance(target, str) or not target.startswith(trusted):
        raise InputError(
            f"{given}: allowed are classes of {' '.join(trusted)} (a package of your own: make project NAME=<name>, or"
            f" its name in {PROJECT_FILE.parent.name}/{PROJECT_FILE.name})"
        )
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # that module exists; what it imports does not
        raise InputError(f"{given}: there is no module {error.name}") from None
    except AttributeError:
        hint = f"; if it is in a file of that folder, name the file too: {module_name}.<file>.{name}"
        raise InputError(f"{given}: {module_name} has no {name}{hint if name[:1].isupper() else ''}") from None
    home = f"{getattr(found, '__module__', '')}."
    if not inspect.isclass(found) or not home.startswith(trusted) or issubclass(found, BaseException):
        raise InputError(f"{given}: this is no class of {' '.join(trusted)}")
    return found


def takes(cls: type) -> frozenset[str] | None:
    """The parameters that a class can be given by name; None where it takes any."""
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _schema(cls: type, supplied: frozenset[str], built: Set[str]) -> type[BaseModel]:
    """A pydantic model of the parameters of `cls` that a config block may set."""
    try:
        hints = get_type_hints(cls.__init__, include_extras=True)  # type: ignore[misc]
    except NameError as error:
        raise InputError(
            f"{cls.__module__}.{cls.__name__}: an annotation of its __init__ cannot be read ({error});"
            " import its name outside of `if TYPE_CHECKING`"
        ) from None
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        positional_or_keyword = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if positional_or_keyword and name not in supplied:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (Any if name in built else hints.get(name, Any), default)
    config = STRICT | ConfigDict(extra="allow" if takes(cls) is None else "forbid", validate_default=False)
    return create_model(cls.__name__, __config__=config, **fields)


def _inner_blocks(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The outermost blocks with a `_target_` in a value, each with its key."""
    if isinstance(value, Mapping) and "_target_" in value:
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _inner_blocks(inner, join(path, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _inner_blocks(inner, f"{path}[{index}]")


def _as_read(value: Any) -> Any:
    """As YAML gives it back, where an annotation made more of it: a tuple of a list, a path or an Enum of a text."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {name: _as_read(inner) for name, inner in value.items()}
    return [_as_read(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _build_inner(value: Any, key: str) -> Any:
    """Blocks with a `_target_` inside an argument become instances, as Hydra users expect."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            return check(value, key).build()
        return {name: _build_inner(inner, join(key, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_build_inner(inner, f"{key}[{index}]") for index, inner in enumerate(value)]
    return value
