"""Class paths that stored configs and studies still hold under an earlier name: read as what they are called now."""

from __future__ import annotations

from typing import Any

_RENAMED = {
    "playbook.training.tasks.": "playbook.tasks.",
    "playbook.training.wandb_mirror.WandbMirror": "playbook.loggers.WandbLogger",
    "playbook.training.mirror.NoMirror": "playbook.loggers.NullLogger",
}
"""By what they begin with. A study or a run that was begun under the old names is the same one under the new."""


def with_current_names(given: Any) -> Any:
    """Plain containers with every class path in them, wherever it stands, as it is now."""
    if isinstance(given, dict):
        return {key: with_current_names(value) for key, value in given.items()}
    if isinstance(given, list):
        return [with_current_names(value) for value in given]
    if isinstance(given, str):
        for old, new in _RENAMED.items():
            if given.startswith(old):
                return new + given.removeprefix(old)
    return given
