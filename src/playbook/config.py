"""The configuration of one trial: YAML composed by Hydra, checked once, typed from then on.

`load_config` takes the resolved config as plain containers and returns a frozen `Config`, or raises `InputError` with
a line for each fault. Nothing has been created by then. Everything that runs later reads typed fields; the blocks of
components (`model`, `data`, …) are checked against the classes that they name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_type_hints

import yaml
from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt, create_model

from playbook import components
from playbook.components import Component
from playbook.errors import InputError, one_line
from playbook.renamed import with_current_names
from playbook.validation import STRICT, join, show, unknown_key, validate


@dataclass(frozen=True)
class Group:
    """A config group that chooses a component: what its class has to be, and what the program gives to it."""

    base: str
    supplied: frozenset[str] = frozenset()


GROUPS = {
    "task": Group("playbook.tasks.Task", frozenset({"num_classes", "train_targets", "input_shape"})),
    "data": Group("playbook.data.Source"),
    "model": Group("torch.nn.Module", frozenset({"input_shape", "num_outputs"})),
    "optimizer": Group("torch.optim.Optimizer", frozenset({"params", "lr"})),
    "schedule": Group("playbook.optim.Schedule"),
    "averaging": Group("playbook.optim.Averaging"),
    "logger": Group("playbook.loggers.RunLogger"),
}
CALLBACK = "pytorch_lightning.Callback"

NOT_PART_OF_A_TRIAL = (
    *("output_root", "output_dir", "resume", "overwrite", "logger", "data.root", "data.download"),
    *("keep_commits", "continue_from", "pause_at"),
)
"""Keys that say where a trial writes or finds things, what it keeps, or where it begins or rests, not what it
computes."""

SAME_WHATEVER: Mapping[str, Any] = {"data.num_workers": 0}
"""Keys that change no trial, and the value that stands for all of theirs: it does not matter who makes the batches."""

NO_AVERAGING = {"_target_": "playbook.optim.NoAveraging"}
ADDED_LATER: Mapping[str, Any] = {
    "lr_scales": {},
    "eval_batch_size": "auto",
    "eval_examples": None,
    "init_from": None,
    "init_skip": [],
    "freeze": [],
    "keep_commits": [],
    "continue_from": None,
    "pause_at": None,
    "averaging": NO_AVERAGING,
    "fold_validation": False,
    "optimizer.decay": "lr",
    "model.parametrization": "standard",
    "model.base_width": None,
    "trainer.micro_batch_size": None,
    "trainer.num_nodes": 1,
    "trainer.compile": False,
}
"""Keys that came after there were runs, with the value that those have. With it they are no part of what makes a trial
that trial, so that a run of before is found again."""

NOT_OFFERED = {
    "accumulate_grad_batches": "gradient accumulation gives no throughput and is not offered (A5): "
    "use the largest batch_size that fits and re-tune lr for it; trainer.micro_batch_size is for a batch that must not"
    " be smaller",
    "gradient_accumulation_steps": "gradient accumulation gives no throughput and is not offered (A5): "
    "use the largest batch_size that fits and re-tune lr for it; trainer.micro_batch_size is for a batch that must not"
    " be smaller",
    "early_stopping": "a trial runs a fixed number of steps and the best checkpoint is chosen afterwards (D3): "
    "set max_steps, and keep_best for how many checkpoints to keep",
    "patience": "a trial runs a fixed number of steps and the best checkpoint is chosen afterwards (D3): "
    "set max_steps, and keep_best for how many checkpoints to keep",
    "max_epochs": "everything is counted in optimizer steps, so that batch sizes can be compared (A6): set max_steps",
    "epochs": "everything is counted in optimizer steps, so that batch sizes can be compared (A6): set max_steps",
    "num_epochs": "everything is counted in optimizer steps, so that batch sizes can be compared (A6): set max_steps",
}
"""Keys that people reach for and the playbook advises against, with the rule and what to use instead. A parameter of
that name of a fork's own class is another thing."""


OPTIONS_NOT_OFFERED = {
    "trainer=fsdp": "a model is not sharded over devices here (Lightning's FSDP needs GPUs, and its checkpoints are "
    "not replaced whole): use trainer=ddp, with trainer.precision=bf16-true for half of the memory",
}
"""Options that people reach for and there are none of, with the reason and what to use instead."""

CALLBACKS_NOT_OFFERED = {
    "EarlyStopping": NOT_OFFERED["early_stopping"],
    "GradientAccumulationScheduler": NOT_OFFERED["accumulate_grad_batches"],
    "ModelCheckpoint": "the best checkpoints are kept, ranked with their own evaluation (D3): set keep_best",
}
"""Lightning's callbacks that do what the playbook advises against, or what is done already."""


class ObjectiveConfig(BaseModel):
    """The validation number that ranks trials."""

    model_config = STRICT

    metric: Annotated[str, Field(min_length=1)]
    mode: Literal["min", "max"]


class TrainerConfig(BaseModel):
    """Where and in which arithmetic the trial runs."""

    model_config = STRICT

    device: Literal["auto", "cpu", "cuda", "mps"]
    # fp16 is not among them: its loss scaling skips steps and scales the gradient norm that we log and clip.
    precision: Literal["32-true", "bf16-mixed", "bf16-true", "64-true"]
    num_threads: Annotated[int, Field(gt=0, le=1024)] | Literal["auto"]
    num_devices: PositiveInt = 1
    num_nodes: PositiveInt = 1
    micro_batch_size: PositiveInt | None = None
    compile: bool = False
    callbacks: dict[str, Any] = {}


@dataclass(frozen=True)
class Config:
    """One trial, checked. The field names are the config keys, and their types what is allowed there;
    `conf/train.yaml` says what each means. `callbacks` are those of `trainer.callbacks`, as components.
    """

    lr: Annotated[float, Field(gt=0, le=1e38)]  # more is not a float32
    batch_size: PositiveInt
    max_steps: PositiveInt
    eval_every: PositiveInt
    warmup_steps: NonNegativeInt
    clip_norm: PositiveFloat | None
    keep_best: NonNegativeInt
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    objective: ObjectiveConfig
    trainer: TrainerConfig
    output_root: Annotated[str, Field(min_length=1)]
    output_dir: Annotated[str, Field(min_length=1)] | None
    resume: Literal["auto", "force"]
    overwrite: bool
    lr_scales: Mapping[str, Any]
    eval_batch_size: PositiveInt | Literal["auto"]
    eval_examples: PositiveInt | None
    init_from: Annotated[str, Field(min_length=1)] | None
    init_skip: list[Annotated[str, Field(min_length=1)]]
    freeze: list[Annotated[str, Field(min_length=1)]]
    keep_commits: list[PositiveInt]
    continue_from: Annotated[str, Field(min_length=1)] | None
    pause_at: PositiveInt | None
    fold_validation: bool
    task: Component
    data: Component
    model: Component
    optimizer: Component
    schedule: Component
    averaging: Component
    logger: Component
    callbacks: Mapping[str, Component]

    def is_evaluated_at(self, step: int) -> bool:
        """Whether the weights after `step` updates are evaluated, and committed."""
        return 0 <= step <= self.total_steps and (step % self.eval_every == 0 or step == self.total_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run: warmup is prepended to `max_steps` (E6)."""
        return self.warmup_steps + self.max_steps

    def plain(self) -> dict[str, Any]:
        """The config as plain containers, in the order of `conf/train.yaml`; what `config.yaml` holds."""
        trainer = self.trainer.model_dump() | {"callbacks": {k: c.plain() for k, c in self.callbacks.items()}}
        settings = {name: getattr(self, name) for name in _Settings.model_fields}
        blocks = {name: getattr(self, name).plain() for name in GROUPS}
        return settings | {"objective": self.objective.model_dump(), "trainer": trainer} | blocks

    def identity(self) -> dict[str, Any]:
        """The flat config (`model.width: 64`) without the keys that do not change what is computed."""
        return identity(self.plain())

    def fingerprint(self) -> str:
        """Ten hexadecimal digits of a hash of `identity()`: the same trial has the same, whatever its paths."""
        text = json.dumps(self.identity(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]


_Settings: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "_Settings",
    __config__=STRICT,
    **{
        name: (annotation, ADDED_LATER.get(name, ...))
        for name, annotation in get_type_hints(Config, include_extras=True).items()
        if name not in (*GROUPS, "callbacks")
    },
)
"""The top-level keys, without the blocks of components."""


def load_config(plain: Mapping[str, Any]) -> Config:
    """A checked `Config` from resolved plain containers.

    Raises:
        InputError: a line for each fault: the key, the value and what is allowed.
    """
    _refuse_what_is_not_offered(plain)
    settings = {name: value for name, value in plain.items() if name not in GROUPS}
    known = [*_Settings.model_fields, *GROUPS]
    for name in settings:
        if name not in known:
            raise InputError(unknown_key(str(name), known, given=f"{name}={show(settings[name])}"))
    checked = validate(_Settings, settings)
    supplied = _supplied(plain.get("data"))
    blocks: dict[str, Any] = {
        name: components.check(
            plain.get(name, ADDED_LATER.get(name)), name, supplied.get(name, group.supplied), group.base
        )
        for name, group in GROUPS.items()
    }
    values: dict[str, Any] = {name: getattr(checked, name) for name in _Settings.model_fields}
    given = values["trainer"].callbacks
    _refuse_callbacks(given)
    callbacks = {
        name: components.check(block, join("trainer.callbacks", name), base=CALLBACK) for name, block in given.items()
    }
    config = Config(**values, **blocks, callbacks=callbacks)
    _refuse_steps_without_a_commit(config)
    return config


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there, which is eight times as fast: a study reads the config of each of its trials."""


def read_config(path: Path) -> dict[str, Any]:
    """The plain containers of a run's `config.yaml`. Only data is read: no tag of the file can make an object."""
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        json.dumps(
            loaded, default=str, skipkeys=True
        )  # what is nested deeper than Python goes is found here and not somewhere later
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as a config: {one_line(error)}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path} is not a run's config: a mapping of keys is needed")
    return cast(dict[str, Any], with_current_names(loaded))


def dump_config(plain: Mapping[str, Any]) -> str:
    """The text of a `config.yaml`."""
    return yaml.safe_dump(dict(plain), sort_keys=False, default_flow_style=None, width=120)


def identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """See `Config.identity`."""
    flat = dict(flatten(plain))
    if flat.get("data.root") and "data.path" in flat:  # there the folder is a part of the data's name
        flat["data.path"] = f"{flat['data.root']}/{flat['data.path']}"
    flat |= {key: value for key, value in SAME_WHATEVER.items() if key in flat}
    as_before = dict(flatten(ADDED_LATER))
    return {
        key: value
        for key, value in flat.items()
        if not any(key == left_out or key.startswith(left_out + ".") for left_out in NOT_PART_OF_A_TRIAL)
        and not (key in as_before and value == as_before[key])
    }


def flatten(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted key, value)` of every leaf; an empty block is a leaf."""
    for name, value in plain.items():
        key = join(prefix, name)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, key)
        else:
            yield key, value


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two flat configs: `lr: 0.1 there, 0.2 here`, in the order of the keys."""
    missing = object()
    lines = []
    for key in sorted({*there, *here}):
        old, new = there.get(key, missing), here.get(key, missing)
        if old != new:
            words = ["absent" if value is missing else show(value) for value in (old, new)]
            lines.append(f"{key}: {words[0]} there, {words[1]} here")
    return lines


def _refuse_what_is_not_offered(plain: Mapping[str, Any]) -> None:
    for key, value in flatten(plain):
        block, _, name = key.rpartition(".")
        if (reason := NOT_OFFERED.get(name)) and (
            block in ("", "trainer") or (block in GROUPS and not settable(plain[block], block, name))
        ):
            raise InputError(f"{key}={show(value)}: {reason}")


def _refuse_steps_without_a_commit(config: Config) -> None:
    """What is kept, and where a run pauses, is a commit: the end of an evaluation."""
    given = {"keep_commits": config.keep_commits, "pause_at": [] if config.pause_at is None else [config.pause_at]}
    for key, steps in given.items():
        for step in steps:
            if not config.is_evaluated_at(step):
                last = config.total_steps
                raise InputError(
                    f"{key}={show(getattr(config, key))}: there is no commit at step {step}; allowed are the steps of"
                    f" evaluations: multiples of eval_every={config.eval_every} up to {last}, and {last}"
                )


def _supplied(data: Any) -> dict[str, frozenset[str]]:
    """What a model and a task are given where their class takes it: what every source supplies, and this one."""
    if not isinstance(data, Mapping) or "_target_" not in data:
        return {}
    more = getattr(components.resolve(data["_target_"], "data"), "supplies", ())
    return {name: GROUPS[name].supplied | frozenset(more) for name in ("task", "model")}


def settable(block: Any, group: str, name: str) -> bool:
    """Whether the class that a block names has a parameter `name` that a config can set: a fork's own `patience`."""
    if not isinstance(block, Mapping) or "_target_" not in block:
        return False
    accepted = components.takes(components.resolve(block["_target_"], group))
    return accepted is None or name in accepted - GROUPS[group].supplied


def _refuse_callbacks(callbacks: Mapping[str, Any]) -> None:
    for name, block in callbacks.items():
        target = str(block.get("_target_", "")) if isinstance(block, Mapping) else ""
        if reason := CALLBACKS_NOT_OFFERED.get(target.rpartition(".")[2]):
            raise InputError(f"trainer.callbacks.{name}={target}: {reason}")
