"""What Lightning is persuaded out of, all of it here: the checklist for whoever upgrades it. Written for Lightning 2.6.6.

Lightning trains: forward, backward, precision, DDP and the callbacks are its own. What is ours instead is switched off
in `make_trainer` by its public arguments: evaluation, checkpoints, logging, progress, samplers. The rest is here. After
an upgrade look at each again; the test that is named fails where it no longer works.

| what | why | private name | noticed by |
|---|---|---|---|
| no signal handlers | its SIGTERM handler speaks to other ranks from inside the signal, and ends a run with exit code 0 | `Trainer._signal_connector.register_signal_handlers` | `test_signals.py` |
| no agreement on SIGTERM at each step | all ranks wait for one another there; ours agree when they settle | `fit_loop.epoch_loop._broadcast_sigterm_tensor` | `test_ddp.py`, `step_overhead.py` |
| targets keep their precision | it would convert all tensors of a batch to bfloat16 | `precision_plugin.convert_input` (public, replaced on the instance) | `test_evaluation.py` |
| plain attributes of the module | it notes the name of each hook in the module, forty times a step, where `nn.Module` searches parameters, buffers and children: a twelfth of a small network's step | `LightningModule._current_fx_name` | `step_overhead.py` |
| gradients are freed at the end of a step | it does so after the next forward pass, beside the next loss | `optimizer_zero_grad` (public hook) | `step_overhead.py` |
| the loader counts all steps of the run | it adds the steps of before a resume to those of the loader | `WholeRun` | `test_resume.py` |
| its advice, warnings and INFO lines are not shown | they are for loops that it designs itself | logger and module names | `test_contract.py` |
| KeyboardInterrupt comes out as itself | it makes an exit code of 1 of it | `SystemExit.__context__` | `test_infeasible.py` |
| a copy of the module is one of its weights | weight averaging copies the module; files, data and the trainer cannot be copied | `LightningModule.__deepcopy__` (ours) | `test_callbacks.py` |
| weight averaging is told of our evaluations | it swaps the weights in the hooks of Lightning's own validation | `WeightAveraging.on_validation_epoch_start` (public hook) | `test_callbacks.py` |
| the environment is named, none is detected | inside Slurm it would requeue the job itself | `plugins=[…Environment()]` | `test_slurm.py` |
"""  # noqa: E501

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from playbook.batch import Batch
from playbook.config import CALLBACKS_NOT_OFFERED, TrainerConfig
from playbook.errors import InputError, one_line
from playbook.tasks import Task
from playbook.training.checkpoints import SafeCheckpointIO
from playbook.training.distributed import Rank

_CALLBACKS_REFUSED = CALLBACKS_NOT_OFFERED | {
    "Checkpoint": "checkpoints are written at each evaluation (D3): set keep_best for how many of the best to keep",
    "LearningRateMonitor": "the learning rate of every step is in steps.csv and in the logger; remove it",
    "ProgressBar": "the terminal shows the progress of the trial already; remove it",
    "StochasticWeightAveraging": "it averages by epochs, and there are none: use"
    " pytorch_lightning.callbacks.EMAWeightAveraging, or WeightAveraging for a plain average",
}
"""Lightning's callbacks, and subclasses of them, that have nothing to do here; what to use instead."""


def checked_callback(callback: Any, key: str, target: str) -> pl.Callback:
    """The callback of a config block.

    Raises:
        InputError: it is none, or one that does what is done already.
    """
    if not isinstance(callback, pl.Callback):
        raise InputError(f"{key}={target}: a Lightning callback is needed")
    for cls in type(callback).__mro__:
        if reason := _CALLBACKS_REFUSED.get(cls.__name__):
            raise InputError(f"{key}={target}: {reason}")
    return callback


class LeanModule(pl.LightningModule):
    """A LightningModule of a model and a task whose steps cost little more than their work."""

    plain_attributes = frozenset({"_current_fx_name"})
    """Set without a search for a parameter, buffer or child of that name."""

    def __init__(self, model: nn.Module, task: Task) -> None:
        super().__init__()
        self.model = model
        self.task = task

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.plain_attributes:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> LeanModule:
        return LeanModule(deepcopy(self.model, memo), deepcopy(self.task, memo))

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing: gradients are freed at the end of their step, as in a plain loop, and their memory is used again."""

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The loader has put the batch where it belongs."""
        return batch


class WholeRun:
    """A loader of the remaining steps that tells Lightning how many the run has."""

    def __init__(self, loader: Any, num_steps: int) -> None:
        assert isinstance(loader, Sized)
        self._loader = loader
        self._num_steps = num_steps

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)  # type: ignore[call-overload]


def make_trainer(
    settings: TrainerConfig,
    *,
    max_steps: int,
    device: torch.device,
    rank: Rank,
    callbacks: list[pl.Callback],
    logger: Logger | None,
    folder: Path,
) -> pl.Trainer:
    """A trainer that runs `max_steps` optimizer steps on `device`, and nothing besides."""
    on_gpu = device.type == "cuda"
    world_size = rank.world_size
    if on_gpu:  # without it cuBLAS may sum in a different order each time
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    devices: Any = world_size
    if on_gpu:
        devices = list(range(world_size)) if world_size > 1 else [device.index]
    with _without_advice():
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(device.type, device.type),
            devices=devices,
            # Running averages are made equal at commits, by us: broadcasting the first rank's would lose the others'.
            strategy=DDPStrategy(broadcast_buffers=False) if world_size > 1 else "auto",
            precision=settings.precision,
            max_steps=max_steps,
            max_epochs=-1,
            deterministic="warn" if on_gpu else None,
            logger=logger or False,
            callbacks=callbacks,
            plugins=[SafeCheckpointIO(), TorchElasticEnvironment() if world_size > 1 else LightningEnvironment()],
            default_root_dir=str(folder),
            limit_val_batches=0,  # evaluation is ours: at step 0, at the interval and at the end, always
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    plugin, convert = trainer.precision_plugin, trainer.precision_plugin.convert_input
    plugin.convert_input = lambda data: (  # type: ignore[method-assign]
        Batch(convert(data.inputs), data.targets) if isinstance(data, Batch) else convert(data)
    )
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if world_size > 1:
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer


def fit(trainer: pl.Trainer, module: pl.LightningModule, checkpoint: Path | None) -> None:
    """Train `module`, from `checkpoint` on where there is one.

    Raises:
        InputError: a callback asks for what this trainer does not have.
        KeyboardInterrupt: as it was raised.
    """
    path = None if checkpoint is None else str(checkpoint)
    try:
        with _without_advice():
            trainer.fit(module, ckpt_path=path, weights_only=True)
    except MisconfigurationException as error:
        raise InputError(f"trainer.callbacks: {one_line(error)}") from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


@contextmanager
def averaged_weights(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """Within it the module has the averaged weights, where a callback of Lightning averages them."""
    averaging = [callback for callback in trainer.callbacks if isinstance(callback, WeightAveraging)]  # type: ignore[attr-defined]
    for callback in averaging:
        callback.on_validation_epoch_start(trainer, module)
    yield
    for callback in averaging:
        callback.on_validation_epoch_end(trainer, module)


@contextmanager
def _without_advice() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # Lightning 2.6, torch 2.13
        # A rank that has no batch of a small evaluation set has nothing to add, which is right.
        warnings.filterwarnings("ignore", message=r".*was called before the ``update`` method.*")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
