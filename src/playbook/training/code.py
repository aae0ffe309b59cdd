"""What the code of a trial's components was, so that a change of it does not pass unseen.

Code is as much a part of a result as a config is: a model that was edited is another model under the same name.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from functools import cache
from pathlib import Path

from playbook.components import Component, resolve
from playbook.config import Config

_LIBRARIES = ("torch.", "torchmetrics.", "pytorch_lightning.")  # of these the version says enough


def code_of(config: Config) -> dict[str, str]:
    """For each component of ours or a fork's, a hash of the file that its class is in, comments and layout aside."""
    named: dict[str, Component] = {
        "task": config.task,
        "data": config.data,
        "model": config.model,
        "optimizer": config.optimizer,
        "schedule": config.schedule,
        **{f"trainer.callbacks.{name}": callback for name, callback in config.callbacks.items()},
    }
    ours = {key: component for key, component in named.items() if not component.target.startswith(_LIBRARIES)}
    return {f"code of {key}": _hash(resolve(component.target, key)) for key, component in ours.items()}


@cache
def _hash(cls: type) -> str:
    tree = ast.parse(Path(inspect.getfile(cls)).read_text(encoding="utf-8"))
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:10]
