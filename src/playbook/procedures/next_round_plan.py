"""What a longer round takes over from a study's best settings, and what of the schedule has to change for it (C4).

Of a decay along a straight line, and of warmup-stable-decay, the length in steps stays and the constant part grows; a
cosine stretches over the longer run and keeps the base learning rate. So the steps that are added are not spent at a
tiny learning rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from playbook.config import Config
from playbook.study.space import Value
from playbook.text import brief

DECAY_STEPS, DECAY_FRACTION = "schedule.decay_steps", "schedule.decay_fraction"


@dataclass(frozen=True)
class LongerSchedule:
    """The settings that a schedule needs for `max_steps`, and what becomes of it, in words."""

    settings: Mapping[str, Value]
    words: str


def longer_schedule(config: Config, max_steps: int) -> LongerSchedule:
    """The schedule of a trial for a run of `max_steps`, which are more than it had; warmup is prepended to both."""
    from playbook.optim import WSD, Constant, Cosine, Linear  # torch

    schedule, before = config.schedule.build(), config.max_steps
    if isinstance(schedule, Linear):
        decay = schedule.decay_steps or before
        constant = f"constant for {max_steps - decay:,} steps instead of {before - decay:,}"
        return LongerSchedule({DECAY_STEPS: decay}, f"linear: the decay keeps its {decay:,} steps, {constant}")
    if isinstance(schedule, WSD):
        decay = max(1, round(schedule.decay_fraction * before))
        constant = f"constant for {max_steps - decay:,} steps instead of {before - decay:,}"
        return LongerSchedule(
            {DECAY_FRACTION: decay / max_steps}, f"wsd: the decay keeps its {decay:,} steps, {constant}"
        )
    if isinstance(schedule, Cosine):
        kept = "the base lr stays"
        if schedule.decay_steps is None:
            return LongerSchedule({}, f"cosine: stretched over {max_steps:,} steps instead of {before:,}, {kept}")
        decay = max(1, round(schedule.decay_steps * max_steps / before))
        words = f"cosine: stretched to {decay:,} steps instead of {schedule.decay_steps:,}, {kept}"
        return LongerSchedule({DECAY_STEPS: decay}, words)
    if isinstance(schedule, Constant):
        return LongerSchedule({}, "constant: as it is")
    return LongerSchedule({}, f"{config.schedule.target}: your own; look whether its settings mean the same here")


@dataclass(frozen=True)
class CarriedOver:
    """A part of the configuration, what it is in the new round, and how surely it holds for longer runs."""

    what: str
    value: str
    surely: str


PARTS = (
    ("warmup length", "likely"),
    ("initialisation", "likely"),
    ("architecture", "next"),
    ("optimizer", "less"),
    ("augmentation", "less"),
    ("regularisation", "less"),
    ("schedule", "least"),
)
"""In the order of the playbook (C4)."""
_REGULARISATION = ("weight_decay", "dropout", "label_smoothing", "stochastic_depth", "mixup")
_OPTIMIZER = ("lr", "lr_scales", "optimizer", "clip_norm", "batch_size", "averaging")


def carried_over(config: Config, settings: Sequence[Mapping[str, Value]], schedule: str) -> list[CarriedOver]:
    """A row a part: what the best setting has there, and the range of the others; `config` is the best trial's."""
    parts: dict[str, list[str]] = {name: [] for name, _ in PARTS}
    if not any("warmup_steps" in each for each in settings):
        parts["warmup length"].append(f"warmup_steps={config.warmup_steps}")
    parts["initialisation"].append("the model's own" if config.init_from is None else f"init_from={config.init_from}")
    for name in ("model", "optimizer"):
        place = "architecture" if name == "model" else name
        parts[place].append(getattr(config, name).target.rpartition(".")[2])
    for key in dict.fromkeys(key for each in settings for key in each):
        if key != "seed" and key not in ("max_steps", "model", "optimizer") and not key.startswith("schedule"):
            parts[_part(key)].append(_values(key, settings))
    decay = config.optimizer.arguments.get("weight_decay")
    if decay is not None and not any("optimizer.weight_decay" in each for each in settings):
        parts["regularisation"].append(f"optimizer.weight_decay={brief(decay)}")
    parts["schedule"].append(schedule)
    return [CarriedOver(name, "; ".join(parts[name]) or "as in the study", surely) for name, surely in PARTS]


def _part(key: str) -> str:
    name, group = key.rpartition(".")[2], key.partition(".")[0]
    if name in _REGULARISATION:
        return "regularisation"
    if key == "warmup_steps":
        return "warmup length"
    if "init" in name:
        return "initialisation"
    if group == "data":
        return "augmentation"
    return "optimizer" if group in _OPTIMIZER else "architecture"


def _values(key: str, settings: Sequence[Mapping[str, Value]]) -> str:
    """`lr=0.05 (0.02 to 0.1)`: the best setting's, and those of all."""
    values = [each[key] for each in settings if key in each]
    shown = f"{key}={brief(values[0])}"
    numbers = [each for each in values if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) == len(values) and min(numbers) < max(numbers):
        return f"{shown} ({brief(min(numbers))} to {brief(max(numbers))})"
    others = list(dict.fromkeys(brief(each) for each in values[1:] if each != values[0]))
    return f"{shown} (also {', '.join(others)})" if others else shown
