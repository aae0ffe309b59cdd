"""Everything that a config names, built and found to fit together, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import nn

from playbook.components import Component
from playbook.config import Config
from playbook.data import Source, Split
from playbook.errors import InputError, one_line
from playbook.loggers.base import GuardedLogger, RunLogger
from playbook.optim import Schedule, parameter_groups
from playbook.randomness import Stream, fold_in
from playbook.tasks import Task
from playbook.training.data import load_data
from playbook.training.device import choose_device, set_num_threads
from playbook.training.distributed import Rank
from playbook.training.evaluation import evaluating, metric_names


@dataclass(frozen=True)
class Parts:
    """What a trial is made of, on one rank."""

    rank: Rank
    device: torch.device
    source: Source
    train: Split
    validation: Split
    data_fingerprint: str
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    mirror: RunLogger
    callbacks: list[pl.Callback]


def build(config: Config, rank: Rank, *, reuse_data: bool = False) -> Parts:
    """The parts of a trial; the model's weights depend on `config.seed` alone, not on the rank.

    With `reuse_data`, those of this process's last trial serve again if they are the same.

    Raises:
        InputError: a part cannot be built as the config says.
    """
    set_num_threads(config.trainer.num_threads, rank.world_size)
    device = choose_device(config.trainer.device, config.trainer.precision, rank)
    if config.batch_size % rank.world_size:
        raise InputError(
            f"batch_size={config.batch_size}: it is shared equally by trainer.num_devices={rank.world_size};"
            f" allowed is a multiple of {rank.world_size}"
        )
    data = load_data(config.data, reuse_data)
    source, train, validation = data.source, data.train, data.validation
    task: Task = config.task.build(train_targets=train.targets, num_classes=source.num_classes)
    _check_objective(config, task, validation)
    torch.manual_seed(fold_in(config.seed, Stream.INITIALISATION))
    model: nn.Module = config.model.build(input_shape=train.input_shape, num_outputs=task.num_outputs)
    _check_outputs(config, model, train, task)
    if config.trainer.precision == "64-true":
        # Lightning 2.6 loads a checkpoint before it converts the model: half of the digits would be lost on resume.
        model.double()
    schedule: Schedule = config.schedule.build()
    schedule.factor(0, config.max_steps)  # a decay that is longer than the run is refused here
    return Parts(
        rank=rank,
        device=device,
        source=source,
        train=train.to(device),
        validation=validation.to(device),
        data_fingerprint=data.fingerprint,
        task=task,
        model=model,
        optimizer=config.optimizer.build(params=parameter_groups(model), lr=config.lr),
        schedule=schedule,
        mirror=GuardedLogger(config.logger.build()) if rank.is_first else RunLogger(),
        callbacks=[_built_callback(callback) for callback in config.callbacks.values()],
    )


@torch.no_grad()
def _check_outputs(config: Config, model: nn.Module, train: Split, task: Task) -> None:
    """A model of the wrong shape is told here, by its key, and not by an index error in the loss."""
    inputs, _ = train.batch(torch.arange(min(2, len(train))))
    with evaluating(model):
        outputs = model(inputs)
    needed = (len(inputs), task.num_outputs)
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != needed:
        given = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
        raise InputError(
            f"model._target_={config.model.target}: it gives {given} for inputs of {tuple(inputs.shape)};"
            f" {needed} is needed (examples, num_outputs)"
        )


def _built_callback(component: Component) -> pl.Callback:
    callback = component.build()
    if not isinstance(callback, pl.Callback):
        raise InputError(f"{component.key}={component.target}: a Lightning callback is needed")
    return callback


def _check_objective(config: Config, task: Task, validation: Split) -> None:
    try:
        found = metric_names(task, validation.targets)
    except (ValueError, RuntimeError, TypeError) as error:  # a torchmetrics class that does not fit the task's outputs
        raise InputError(f"task.metrics: {one_line(error)}") from error
    names = [f"val/{name}" for name in found if not name.startswith("examples/")]
    known = [*names, "train/error", "train/eval_loss"]
    if config.objective.metric not in known:
        shown = ", ".join(name for name in known if name.count("/") == 1)
        raise InputError(f"objective.metric={config.objective.metric}: this task has {shown}")
