"""What the code of a trial's components was, so that a change of it does not pass unseen.

Code is as much a part of a result as a config is: a model that was edited is another model under the same name.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

from playbook.components import Component, resolve
from playbook.config import NO_AVERAGING, Config

_LIBRARIES = ("torch", "torchmetrics", "pytorch_lightning")  # of these the version says enough


def code_of(config: Config) -> dict[str, str]:
    """For each component of ours or a fork's, a hash of the file of its class and of what that imports of its package.

    Blank lines and lines of comment do not count.
    """
    named: dict[str, Component] = {
        "task": config.task,
        "data": config.data,
        "model": config.model,
        "optimizer": config.optimizer,
        "schedule": config.schedule,
        **({} if config.averaging.plain() == NO_AVERAGING else {"averaging": config.averaging}),
        **{f"trainer.callbacks.{name}": callback for name, callback in config.callbacks.items()},
    }
    modules = {key: resolve(component.target, key).__module__ for key, component in named.items()}
    ours = {key: module for key, module in modules.items() if module.partition(".")[0] not in _LIBRARIES}
    return {f"code of {key}": _hash(module) for key, module in ours.items()}


@cache
def _hash(module: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(_with_imports(module)):
        digest.update(f"{name}\n{_code(name)}\n".encode())
    return digest.hexdigest()[:10]


def _with_imports(module: str) -> set[str]:
    """A module and what it imports of its own package, directly or not; all of it has been imported by now."""
    package, found, waiting = module.partition(".")[0], set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in found and name.partition(".")[0] == package and getattr(sys.modules.get(name), "__file__", None):
            found.add(name)
            waiting += _imports(name)
    return found


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(_source(module))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            relative = "." * node.level + (node.module or "")
            origin = resolve_name(relative, sys.modules[module].__package__)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def _code(module: str) -> str:
    lines = (line.rstrip() for line in _source(module).splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def _source(module: str) -> str:
    return Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
