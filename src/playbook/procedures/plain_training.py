"""The trial of some words at a constant learning rate, without augmentation and regularisation (C3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from playbook.config import NO_AVERAGING, Config, flatten
from playbook.study.overrides import as_override, override_key
from playbook.trial_config import compose

OFF: dict[str, tuple[tuple[str, Any], ...]] = {
    "optimizer": (("weight_decay", 0.0),),
    "task": (("label_smoothing", 0.0),),
    "data": (("crop_padding", 0), ("flip", False)),
}
"""Of each block the keys that regularise or augment, and their value that does neither."""
DROPOUT = "dropout"
"""What a model's key ends with that drops units, layers or paths."""
CONSTANT = "playbook.optim.Constant"


@dataclass(frozen=True)
class PlainTraining:
    """The `words` of that trial; what was turned `off`, as it was: `schedule=cosine`, `model.dropout=0.1`.

    `left_on` is the augmentation of data that have no key of `OFF` for it, None where there is none.
    """

    words: tuple[str, ...]
    off: tuple[str, ...]
    left_on: str | None


def without_regularisation(words: Sequence[str], config: Config) -> PlainTraining:
    """The trial of the words, whose `config` it is, without all of that.

    Raises:
        InputError: an experiment sets a key of a schedule that is gone; or the data cannot be built.
    """
    kept = [word for word in words if not _is_replaced(word)]
    added, off = [], []
    if config.schedule.target != CONSTANT:
        added.append("schedule=constant")
        off.append(f"schedule={_name(config.schedule.target)}")
    if config.averaging.target != NO_AVERAGING["_target_"]:
        added.append("averaging=none")
        off.append(f"averaging={_name(config.averaging.target)}")
    if config.warmup_steps:
        added.append("warmup_steps=0")
        off.append(f"warmup_steps={config.warmup_steps}")
    plain = dict(flatten(config.plain()))
    for key, value in _off(plain):
        if plain[key] != value:
            added.append(as_override(key, value))
            off.append(as_override(key, plain[key]))
    found = (*kept, *added)
    augmentation = compose(*found).data.build().augmentation
    return PlainTraining(found, tuple(off), None if augmentation is None else type(augmentation).__name__)


def _off(plain: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for block, keys in OFF.items():
        yield from ((f"{block}.{name}", value) for name, value in keys if f"{block}.{name}" in plain)
    for key, value in plain.items():
        is_rate = isinstance(value, float | int) and not isinstance(value, bool)
        if key.startswith("model.") and key.endswith(DROPOUT) and is_rate:
            yield key, 0.0


def _is_replaced(word: str) -> bool:
    key = override_key(word)
    return key.partition(".")[0] in ("schedule", "averaging") or key == "warmup_steps"


def _name(target: str) -> str:
    return target.rpartition(".")[2].lower()
