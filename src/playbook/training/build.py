"""Everything that a config names, built and found to fit together, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from playbook.batch import Batch, Tree, shapes, split
from playbook.components import errors_of
from playbook.config import Config
from playbook.data import Source, Split, StreamSplit
from playbook.data.seeding import generators_seeded
from playbook.errors import InputError, one_line
from playbook.loggers.base import GuardedLogger, RunLogger
from playbook.optim import Averaging, Schedule, averages, parameter_groups
from playbook.optim.base import Optimizer
from playbook.randomness import Stream, fold_in
from playbook.tasks import Task
from playbook.training.averaging import AVERAGED, averaging_of
from playbook.training.compilation import refuse_without_compiler
from playbook.training.data import DATA, load_data
from playbook.training.device import set_num_threads
from playbook.training.distributed import Rank
from playbook.training.eval_batch_size import eval_batch_size
from playbook.training.evaluation import TRAINING_METRICS, evaluating, metric_names
from playbook.training.freezing import freeze
from playbook.training.initial_weights import INIT_FROM, load_initial_weights
from playbook.training.lightning_adapter import checked_callback
from playbook.training.memory import is_out_of_memory


@dataclass(frozen=True)
class TrialSetup:
    """What one rank of a trial trains, on what, and with what."""

    config: Config
    rank: Rank
    device: torch.device
    source: Source
    facts: dict[str, Any]
    train: Split
    validation: Split
    fingerprints: dict[str, str]
    """Of what it reads, the data and the initial weights: parts of the environment that the run records."""
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    averaging: Averaging | None
    logger: RunLogger
    callbacks: list[pl.Callback]
    eval_batch_size: int


def build(config: Config, rank: Rank, device: torch.device, *, reuse_data: bool = False) -> TrialSetup:
    """All that the config names, with the data on `device`; the model's weights depend on `config.seed` alone.

    With `reuse_data`, the data of this process's last trial serve again if they are the same.

    Raises:
        InputError: something cannot be built as the config says, or does not fit the rest.
    """
    set_num_threads(config.trainer.num_threads, rank.num_local)
    if config.batch_size % rank.world_size:
        of_devices = f"trainer.num_devices={rank.num_local}"
        if config.trainer.num_nodes > 1:
            of_devices += f" of trainer.num_nodes={config.trainer.num_nodes}"
        raise InputError(
            f"batch_size={config.batch_size}: it is shared equally by {of_devices};"
            f" allowed is a multiple of {rank.world_size}"
        )
    if config.trainer.compile:
        refuse_without_compiler(device)
    data = load_data(config.data, reuse_data, fold_validation=config.fold_validation)
    source, train, validation = data.source, data.train, data.validation
    with errors_of("data", f"facts() of {type(source).__name__}"):
        facts = source.facts()
    task: Task = config.task.build(train_targets=train.targets, input_shape=train.input_shape, **facts)
    torch.manual_seed(fold_in(config.seed, Stream.INITIALISATION))
    model: nn.Module = config.model.build(input_shape=train.input_shape, num_outputs=task.num_outputs, **facts)
    fingerprints = {DATA: data.fingerprint}
    if config.init_from is not None:
        weights = load_initial_weights(config.init_from)
        weights.put_into(model, config.init_skip)
        fingerprints[INIT_FROM] = weights.fingerprint()
    elif config.init_skip:
        skipped = ", ".join(config.init_skip)
        raise InputError(f"init_skip=[{skipped}]: there is no init_from that it could leave something of")
    freeze(model, config.freeze)
    _check_model(config, model, train, task, rank)
    small = _small_batch(validation)
    averaging = averaging_of(config)
    _check_objective(config, model, task, small, averages=averaging is not None)
    eval_size = config.eval_batch_size
    if eval_size == "auto":
        with evaluating(model):
            eval_size = eval_batch_size(model, task, small, config.batch_size)
    if config.trainer.precision == "64-true":
        # Lightning 2.6 loads a checkpoint before it converts the model: half of the digits would be lost on resume.
        model.double()
        if config.init_from is not None:  # again, with all of the digits
            weights.put_into(model, config.init_skip)
    groups = parameter_groups(model, lr=config.lr, lr_scales=config.lr_scales)
    _check_optimizer(config, groups, device)
    optimizer: torch.optim.Optimizer = config.optimizer.build(params=groups, lr=config.lr)
    if any("param_growth" in group for group in groups) and not isinstance(optimizer, Optimizer):
        raise InputError(
            f"optimizer._target_={config.optimizer.target}: it does not scale its rate with the width of a layer, as"
            " model.parametrization=mup needs it; use an optimizer of playbook.optim, or one that extends"
            " playbook.optim.base.Optimizer"
        )
    if averaging is not None and averages(optimizer):
        raise InputError(
            f"averaging._target_={config.averaging.target}: {type(optimizer).__name__} averages the weights itself; use"
            " averaging=none, or another optimizer"
        )
    schedule: Schedule = config.schedule.build()
    schedule.factor(0, config.max_steps)  # a decay that is longer than the run is refused here
    return TrialSetup(
        config=config,
        rank=rank,
        device=device,
        source=source,
        facts=facts,
        train=train.to(device),
        validation=validation.to(device),
        fingerprints=fingerprints,
        task=task,
        model=model,
        optimizer=optimizer,
        schedule=schedule,
        averaging=averaging,
        logger=GuardedLogger(config.logger.build()) if rank.is_first else RunLogger(),
        callbacks=[checked_callback(block.build(), block.key, block.target) for block in config.callbacks.values()],
        eval_batch_size=eval_size,
    )


def _check_model(config: Config, model: nn.Module, train: Split, task: Task, rank: Rank) -> None:
    """A model that cannot be trained here is told by its key, and not by an index error in the loss or at some step."""
    key = f"model._target_={config.model.target}"
    batch = _small_batch(train)
    if config.batch_size == rank.world_size:
        _check_training_on_one(config, model, task, split(batch, 1)[0], rank)
    with evaluating(model):
        outputs = _outputs(model, task, batch)
        with errors_of("task", f"targets() of {type(task).__name__}"):
            task.targets(batch)
        try:
            task.check(outputs, batch)
        except InputError as error:
            raise InputError(f"{key}: {error}") from error
        with errors_of("task", f"training_loss() of {type(task).__name__}"):
            loss = task.training_loss(model, batch)
    if not isinstance(loss, torch.Tensor) or loss.shape != ():
        found = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
        raise InputError(f"task._target_={config.task.target}: its loss is {found}; a tensor of one number is needed")
    if not loss.requires_grad:
        raise InputError(f"{key}: nothing in it can be trained: the loss depends on no parameter with requires_grad")


def _small_batch(data: Split) -> Batch:
    """Two examples, or the only one."""
    count = 2 if isinstance(data, StreamSplit) else min(2, len(data))
    with errors_of("data", "batch() of two examples"), generators_seeded(0):
        return data.batch(torch.arange(count))


def _outputs(model: nn.Module, task: Task, batch: Batch) -> Tree:
    with errors_of("model", f"forward() of inputs of {shapes(batch.inputs)}"):
        return task.outputs(model, batch.inputs)


@torch.no_grad()
def _check_training_on_one(config: Config, model: nn.Module, task: Task, batch: Batch, rank: Rank) -> None:
    """Batch norm has no variance of one example. The running averages are left as they were."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        task.outputs(model, batch.inputs)
    except ValueError as error:
        given = f"batch_size={config.batch_size}" + (f" on {rank.world_size} devices" if rank.world_size > 1 else "")
        raise InputError(
            f"{given}: model._target_={config.model.target} cannot train on one example at a time"
            f" ({one_line(error)}); use a larger batch_size"
        ) from error
    for name, buffer in model.named_buffers():
        if name in buffers:
            buffer.copy_(buffers[name])


def _check_optimizer(config: Config, groups: list[dict[str, Any]], device: torch.device) -> None:
    """An optimizer that does not take a step as it is asked for here says so now, and not in the first of the run.

    It is tried on parameters of two in each dimension, that have the names and roles of the model's.
    """
    tried = [
        group | {"params": [torch.zeros((2,) * p.ndim, device=device) for p in group["params"]]} for group in groups
    ]
    for param in (param for group in tried for param in group["params"]):
        param.requires_grad_()
        param.grad = torch.zeros_like(param)
    optimizer: torch.optim.Optimizer = config.optimizer.build(params=tried, lr=config.lr)
    with errors_of("optimizer", f"step() of {type(optimizer).__name__}"):
        optimizer.step(lambda: 0.0)


def _check_objective(config: Config, model: nn.Module, task: Task, batch: Batch, *, averages: bool) -> None:
    with torch.no_grad(), evaluating(model):
        outputs = _outputs(model, task, batch)
    try:
        names = metric_names(task, outputs, batch)
        with errors_of("task", f"describe() of {type(task).__name__}"):
            task.describe(outputs, task.targets(batch))
    except InputError:
        raise
    except Exception as error:  # a torchmetrics class that does not fit the task's outputs, or a fork's with a bug
        if is_out_of_memory(error):
            raise
        words = one_line(error) or type(error).__name__
        raise InputError(f"task.metrics: {words} (HYDRA_FULL_ERROR=1 shows where)") from error
    known = [f"val/{name}" for name in names if not name.startswith("examples/")]
    known += [of_training for name, of_training in TRAINING_METRICS.items() if name in names]
    if averages:
        known += [f"{AVERAGED}/{name}" for name in names if not name.startswith("examples/")]
    elif config.objective.metric.startswith(f"{AVERAGED}/"):
        raise InputError(
            f"objective.metric={config.objective.metric}: averaging=none keeps no averaged weights;"
            " add averaging=ema or averaging=polyak"
        )
    if config.objective.metric not in known:
        shown = ", ".join(name for name in known if name.count("/") == 1)
        raise InputError(f"objective.metric={config.objective.metric}: this task has {shown}")
