"""A component is a class named by a `_target_`: resolved only from trusted places, checked against its own signature.

A fork's own class needs nothing but an annotated `__init__`: the annotations, with their bounds
(`dropout: Annotated[float, Field(ge=0, lt=1)]`), are the schema of its config block, so that an unknown key, a wrong
type or a value out of bounds is refused, by its config key, before anything is created.
"""

from __future__ import annotations

import importlib
import inspect
import re
import signal
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
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
            InputError: what the constructor raised, in one line; that memory has run out passes as it is.
        """
        cls = resolve(self.target, self.key)
        accepted = takes(cls)
        used = {name: value for name, value in supplied.items() if accepted is None or name in accepted}
        inner = {name: _build_inner(value, join(self.key, name)) for name, value in self.arguments.items()}
        with errors_of(self.key, f"{cls.__name__}()"):
            return cls(**used, **inner)

    def plain(self) -> dict[str, Any]:
        """The block as it stands in a config file."""
        return {"_target_": self.target, **{name: _as_read(value) for name, value in self.arguments.items()}}


@contextmanager
def errors_of(key: str, where: str) -> Iterator[None]:
    """What the user's own code raises within becomes a line for `key`.

    That memory has run out is no bad input, and what a signal's handler raises is not of that code: Slurm takes the
    place of a job whenever it likes.
    """
    try:
        yield
    except InputError:
        raise
    except SystemExit as error:
        if _is_of_a_signal(error):
            raise
        raise InputError(f"{key}: {where} ended the process (sys.exit({error.code!r}))") from error
    except Exception as error:
        no_memory = isinstance(error, MemoryError) or re.search("memory|alloc", str(error), re.IGNORECASE)
        if no_memory or _is_of_a_signal(error):
            raise
        words = one_line(error)
        if isinstance(error, ValueError) and words.startswith(f"{key}."):  # it is written for who reads this
            raise InputError(words) from error
        raise InputError(
            f"{key}: {words or 'no reason given'} ({type(error).__name__} in {where}; HYDRA_FULL_ERROR=1 shows where)"
        ) from error


def _is_of_a_signal(error: BaseException) -> bool:
    """Whether the handler of a signal raised it."""
    handlers = [signal.getsignal(signum) for signum in signal.valid_signals()]
    codes = [getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers]
    return any(frame.f_code in codes for frame, _ in traceback.walk_tb(error.__traceback__))


def check(block: Any, key: str, supplied: frozenset[str] = frozenset(), base: str = "") -> Component:
    """The block at `key` with its values in the types that the class's signature asks for.

    `supplied` names the parameters that the program gives on `build`; a block may not. `base` is the dotted path of
    the class that it has to be of, or of a protocol.

    Raises:
        InputError: a line for each fault, with the key, the value and what is allowed.
    """
    if not isinstance(block, Mapping) or "_target_" not in block:
        raise InputError(f"{key}={show(block)}: a block with a _target_ is needed; choose one with {key}=<option>")
    given = {str(name): value for name, value in block.items() if name != "_target_"}
    for path, inner in _inner_blocks(given, key):
        check(inner, path)
    cls = resolve(block["_target_"], key)
    _refuse_another_kind(cls, f"{key}._target_={block['_target_']}", base)
    for name in sorted(supplied.intersection(given)):
        raise InputError(f"{join(key, name)}={show(given[name])}: the program supplies this; remove it")
    # What holds a block with a _target_ becomes an instance when it is built; the signature speaks of that instance.
    plain = {name: value for name, value in given.items() if not any(_inner_blocks(value, key))}
    schema = _schema(cls, supplied, frozenset(given.keys() - plain.keys()))
    _refuse_keys_of_another_class(cls, given, schema, key)
    checked = validate(schema, given, key)
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
        cls = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # that module exists; what it imports does not
        raise InputError(f"{given}: there is no module {error.name}") from None
    except AttributeError:
        hint = f"; if it is in a file of that folder, name the file too: {module_name}.<file>.{name}"
        raise InputError(f"{given}: {module_name} has no {name}{hint if name[:1].isupper() else ''}") from None
    if inspect.isroutine(cls):
        raise InputError(f"{given}: this is a function; a class is needed, whose __init__ may call it")
    home = f"{getattr(cls, '__module__', '')}."
    if not inspect.isclass(cls) or not home.startswith(trusted) or issubclass(cls, BaseException):
        raise InputError(f"{given}: this is no class of {' '.join(trusted)}")
    return cls


def takes(cls: type) -> frozenset[str] | None:
    """The parameters that a class can be given by name; None where it takes any."""
    parameters = inspect.signature(cls).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _refuse_another_kind(cls: type, given: str, base: str) -> None:
    """A class that is not of the kind that its group needs, or that lacks methods."""
    if base:
        module_name, _, name = base.rpartition(".")
        if not issubclass(cls, getattr(importlib.import_module(module_name), name)):
            raise InputError(f"{given}: a class of the kind of {base} is needed")
    if base == "torch.nn.Module" and any(parent.__name__ == "LightningModule" for parent in cls.__mro__):
        raise InputError(f"{given}: the training loop is there already; give the torch.nn.Module inside of it")
    static = {name: inspect.getattr_static(cls, name) for name in dir(cls)}
    if missing := [name for name, value in static.items() if getattr(value, "__isabstractmethod__", False)]:
        raise InputError(f"{given}: this class still has to define {', '.join(missing)}")


def _refuse_keys_of_another_class(cls: type, given: Mapping[str, Any], schema: type[BaseModel], key: str) -> None:
    """`model._target_=` another class beside the keys of the option that it was written into: one line for all."""
    unknown = [name for name in given if name not in schema.model_fields]
    if schema.model_config.get("extra") == "forbid" and len(unknown) > 1:
        raise InputError(
            f"{key}: {cls.__name__} has no {', '.join(unknown)}; there are {', '.join(schema.model_fields) or 'none'}"
            f" (a class of another option's keys wants an option of its own: conf/{key.replace('.', '/')}/<name>.yaml)"
        )


@cache
def _schema(cls: type, supplied: frozenset[str], built: frozenset[str]) -> type[BaseModel]:
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
