"""One trial, from a checked config to `result.json`.

The order matters to whoever mistypes: data are read, the model, the task, the optimizer and the schedule are built,
and the objective is looked up, before the folder of the run is made.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console
from torch import nn

from playbook.config import Config
from playbook.data import PassLoader, Source, Split, StepLoader, fixed_sample
from playbook.errors import InputError
from playbook.optim import Schedule, parameter_groups
from playbook.randomness import Stream, fold_in
from playbook.records import Result, finite, write_result
from playbook.training.checkpoints import SafeCheckpointIO
from playbook.training.commit import Commits, History, Judges
from playbook.training.device import choose_device, environment, set_num_threads
from playbook.training.evaluation import EVAL_BATCH_SIZE, metric_names
from playbook.training.folder import begin, finished_result, locked
from playbook.training.mirror import NoMirror
from playbook.training.module import SETTLE_EVERY, StepSettings, TrialModule
from playbook.training.progress import TrialProgress, summary
from playbook.training.tasks import Task

TRAINING_SAMPLE = 2048
"""Training examples that every evaluation looks at: enough to tell an error of 1 % to within 0.2 %."""
KEPT_EXAMPLES = 64
"""Validation examples whose predictions are kept at every evaluation (D2)."""


def train(config: Config, *, verbose: bool = True) -> Result:
    """Train the trial that `config` describes into `config.output_dir`, going on where it was interrupted.

    A finished trial is returned as it is.

    Raises:
        InputError: something in the config does not fit the data, the machine or the folder. Nothing has been written.
    """
    assert config.output_dir is not None, "the door names the folder"
    folder = Path(config.output_dir)
    result = finished_result(folder, config)
    mirrored = None
    if result is None:
        parts = build(config)
        with locked(folder):
            resume_from, history = begin(folder, config)
            parts.mirror.open(run_dir=str(folder), config=config.plain())
            mirrored = parts.mirror.where
            try:
                result = _Run(config, folder, parts, history, verbose).fit(resume_from)
                write_result(folder, result)
            finally:
                parts.mirror.close(result)
    if verbose:
        console = Console()
        console.print(summary(result, str(folder)))
        if mirrored:
            console.print(f"W&B: {mirrored}", soft_wrap=True, highlight=False)
    return result


@dataclass(frozen=True)
class Parts:
    """Everything that a config names, built and found to fit together."""

    device: torch.device
    source: Source
    train: Split
    validation: Split
    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    mirror: NoMirror
    callbacks: list[pl.Callback]


def build(config: Config) -> Parts:
    """The parts of a trial; the model's weights depend on `config.seed` alone.

    Raises:
        InputError: a part cannot be built as the config says.
    """
    set_num_threads(config.trainer.num_threads)
    device = choose_device(config.trainer.device)
    source: Source = config.data.build()
    train, validation = source.load("train"), source.load("val")
    task: Task = config.task.build(train_targets=train.targets, num_classes=source.num_classes)
    _check_objective(config, task, validation)
    torch.manual_seed(fold_in(config.seed, Stream.INITIALISATION))
    model: nn.Module = config.model.build(input_shape=train.input_shape, num_outputs=task.num_outputs)
    schedule: Schedule = config.schedule.build()
    schedule.factor(0, config.max_steps)  # a decay that is longer than the run is refused here
    return Parts(
        device=device,
        source=source,
        train=train,
        validation=validation,
        task=task,
        model=model,
        optimizer=config.optimizer.build(params=parameter_groups(model), lr=config.lr),
        schedule=schedule,
        mirror=config.logger.build(),
        callbacks=[callback.build() for callback in config.callbacks.values()],
    )


def _check_objective(config: Config, task: Task, validation: Split) -> None:
    names = [f"val/{name}" for name in metric_names(task, validation.targets) if not name.startswith("examples/")]
    known = [*names, "train/error", "train/eval_loss"]
    if config.objective.metric not in known:
        shown = ", ".join(name for name in known if name.count("/") == 1)
        raise InputError(f"objective.metric={config.objective.metric}: this task has {shown}")


class _Run:
    """Trains; decides at the end of each step what is due, and says at the end how it went."""

    def __init__(self, config: Config, folder: Path, parts: Parts, history: History, verbose: bool) -> None:
        self._config = config
        self._parts = parts
        self._history = history
        self._infeasible: dict[str, Any] | None = None
        self._progress = TrialProgress(
            total_steps=config.total_steps,
            batch_size=config.batch_size,
            objective=config.objective.metric,
            enabled=verbose,
        )
        self._module = TrialModule(
            parts.model,
            parts.task,
            parts.optimizer,
            parts.schedule,
            StepSettings(config.lr, config.max_steps, config.warmup_steps, config.clip_norm, config.seed),
            self._loader,
        )
        self._module.observer = self
        self._trainer = _trainer(config, folder, parts)
        self._commits = Commits(
            folder,
            self._trainer,
            self._module,
            self._judges(),
            history,
            metric=config.objective.metric,
            mode=config.objective.mode,
            keep_best=config.keep_best,
            mirror=parts.mirror,
        )

    def fit(self, resume_from: Path | None) -> Result:
        """Train to the end, or to where the trial turns out infeasible."""
        checkpoint = None if resume_from is None else str(resume_from)
        try:
            with _without_lightning_advice():
                self._trainer.fit(self._module, ckpt_path=checkpoint, weights_only=True)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            self._give_up("out_of_memory", self._module.step, str(error).splitlines()[0])
        finally:
            self._progress.stop()
        return self._result()

    def started(self, step: int) -> None:
        """See `Observer`."""
        self._progress.start(step)
        if step == 0:
            self._commit(0)

    def step_done(self, step: int) -> None:
        """See `Observer`."""
        due = step % self._config.eval_every == 0 or step == self._config.total_steps
        if due or step % SETTLE_EVERY == 0:
            bad = self._module.recorder.settle()
            if bad is not None:
                self._commits.flush_steps(until=bad + 1)
                self._give_up("diverged", bad, "the training loss or the norm of its gradient is not finite")
                return
        if due:
            self._commit(step)
        if self._progress.is_due(monotonic()):
            self._progress.show(step, self._module.recorder.last_loss)

    def state(self) -> dict[str, Any]:
        """See `Observer`."""
        return {
            "history": self._history.plain(),
            "hyper_parameters": self._config.plain(),
            "environment": environment(self._parts.device),
            "shape": {
                "input_shape": list(self._parts.train.input_shape),
                "num_outputs": self._parts.task.num_outputs,
                "num_classes": self._parts.source.num_classes,
            },
        }

    def _commit(self, step: int) -> None:
        if self._commits.commit(step):
            self._progress.evaluated(self._history.objectives[-1][1])
        else:
            self._give_up("diverged", step, "the loss of an evaluation is not finite")

    def _give_up(self, reason: str, step: int, message: str) -> None:
        self._infeasible = {"reason": reason, "reason_step": step, "reason_message": message}
        self._trainer.should_stop = True

    def _loader(self, start_step: int) -> StepLoader:
        return StepLoader(
            self._parts.train,
            batch_size=self._config.batch_size,
            seed=self._config.seed,
            num_steps=self._config.total_steps,
            start_step=start_step,
            augmentation=self._parts.source.augmentation,
            num_workers=self._parts.source.num_workers,
            device=self._parts.device,
        )

    def _judges(self) -> Judges:
        parts = self._parts
        batch_size = max(EVAL_BATCH_SIZE, self._config.batch_size)
        # Which examples are looked at belongs to the data, not to the trial: trials are compared on the same ones.
        sample = fixed_sample(parts.train.targets, TRAINING_SAMPLE, seed=0)
        kept = fixed_sample(parts.validation.targets, KEPT_EXAMPLES, seed=0)
        inputs, targets = parts.validation.batch(kept)
        workers = parts.source.num_workers
        return Judges(
            PassLoader(parts.validation, batch_size=batch_size, num_workers=workers, device=parts.device),
            PassLoader(parts.train, batch_size=batch_size, indices=sample, num_workers=workers, device=parts.device),
            (kept, inputs.to(parts.device), targets.to(parts.device)),
        )

    def _result(self) -> Result:
        config, history = self._config, self._history
        metric, mode = config.objective.metric, config.objective.mode
        common: dict[str, Any] = {
            "steps": self._module.step if self._infeasible is None else self._infeasible["reason_step"],
            "seconds": round(self._commits.seconds, 3),
            "metrics": finite(history.metrics),
            "seed": config.seed,
            "objective_metric": metric,
            "objective_mode": mode,
            "environment": environment(self._parts.device),
        }
        if self._infeasible is not None:
            common |= self._infeasible
            return Result(status="infeasible", objective=None, best_step=None, final_objective=None, **common)
        ((best_step, objective),) = history.best(mode, 1)
        chance, above_chance = self._chance(objective)
        return Result(
            status="complete",
            objective=objective,
            best_step=best_step,
            final_objective=history.objectives[-1][1],
            chance=chance,
            above_chance=above_chance,
            **common,
        )

    def _chance(self, objective: float) -> tuple[float | None, float | None]:
        """What chance gets, and how much of the way from there to perfect the trial went (A10)."""
        split, _, name = self._config.objective.metric.partition("/")
        levels = self._parts.task.chance(self._parts.validation.targets)
        if split != "val" or name not in levels:
            return None, None
        chance, perfect = levels[name], 0.0 if self._config.objective.mode == "min" else 1.0
        return chance, (chance - objective) / (chance - perfect) if chance != perfect else None


@contextmanager
def _without_lightning_advice() -> Iterator[None]:
    """Lightning's advice is for loops that it designs itself (loaders, epochs, loggers); ours would only distract."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\.")
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")  # Lightning 2.6, torch 2.13
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _trainer(config: Config, folder: Path, parts: Parts) -> pl.Trainer:
    on_gpu = parts.device.type == "cuda"
    if on_gpu:  # without it cuBLAS may use a different order of summation each time
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with _without_lightning_advice():
        return pl.Trainer(
            accelerator={"cuda": "gpu"}.get(parts.device.type, parts.device.type),
            devices=[parts.device.index] if on_gpu else 1,
            precision=config.trainer.precision,
            max_steps=config.total_steps,
            max_epochs=-1,
            deterministic="warn" if on_gpu else None,
            logger=parts.mirror.lightning_logger or False,
            callbacks=parts.callbacks,
            plugins=[SafeCheckpointIO()],
            default_root_dir=str(folder),
            limit_val_batches=0,  # evaluation is ours: at step 0, at the interval and at the end, always
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def _is_out_of_memory(error: BaseException) -> bool:
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)  # torch's words on the CPU
