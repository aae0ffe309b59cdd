"""The overrides that compose the config of a run: a run's folder says what it was, and not how it was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from playbook.composition import CONFIG_DIR
from playbook.config import GROUPS, NOT_PART_OF_A_TRIAL, Config, difference, flatten, load_config
from playbook.errors import InputError
from playbook.study.overrides import as_override
from playbook.trial_config import compose

_LEFT_OUT = (*(key for key in NOT_PART_OF_A_TRIAL if key not in ("data.root", "data.download")), "trainer.num_threads")


def overrides_of(plain: Mapping[str, Any], where: str) -> list[str]:
    """The words after `python train.py` that compose the config `plain` of a run, which was found at `where`.

    Each component is the option of its group that names its class, with what differs from that option.

    Raises:
        InputError: no option has a component's class, or no words say the config.
    """
    wanted = load_config(plain)
    flat = dict(flatten(wanted.plain()))
    words = list(_options(flat, dict(flatten(compose().plain())), where))
    words += _differences(flat, dict(flatten(compose(*words).plain())))
    composed = compose(*words)
    if lines := difference(_compared(wanted), _compared(composed)):
        raise InputError(
            f"{where}: its config cannot be composed from conf/ any more ({'; '.join(lines[:3])});"
            " give it as overrides, such as '[\"lr=0.1\"]'"
        )
    return words


def _options(flat: Mapping[str, Any], default: Mapping[str, Any], where: str) -> Iterator[str]:
    for group in GROUPS:
        key = f"{group}._target_"
        if flat.get(key) == default.get(key) or group == "logger":
            continue
        if (option := _classes(group).get(str(flat.get(key)))) is None:
            raise InputError(
                f"{where}: no option in conf/{group}/ has the class {flat.get(key)} of its {group};"
                " give it as overrides, such as '[\"lr=0.1\"]'"
            )
        yield f"{group}={option}"


@cache
def _classes(group: str) -> dict[str, str]:
    """The first option of a group for each class."""
    found: dict[str, str] = {}
    for path in sorted((Path(CONFIG_DIR) / group).glob("*.yaml")):
        block = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        own = block[group] if isinstance(block.get(group), dict) else block
        if target := own.get("_target_"):
            found.setdefault(str(target), path.stem)
    return found


def _differences(wanted: Mapping[str, Any], composed: Mapping[str, Any]) -> Iterator[str]:
    for key, value in wanted.items():
        if key.startswith(_LEFT_OUT) or (key in composed and composed[key] == value):
            continue
        yield ("" if key in composed else "+") + as_override(key, value)
    for key in composed:
        is_parent = any(other.startswith(f"{key}.") for other in wanted)
        if key not in wanted and not key.startswith(_LEFT_OUT) and not is_parent:
            yield f"~{key}"


def _compared(config: Config) -> dict[str, Any]:
    return {key: value for key, value in config.identity().items() if not key.startswith(_LEFT_OUT)}
