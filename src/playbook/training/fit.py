"""Trains a trial with Lightning, decides at the end of each step what is due, and says at the end how it went."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from playbook.config import Config
from playbook.data import PassLoader, StepLoader
from playbook.data.stratify import SKEW_LIMIT, fixed_sample, skew
from playbook.errors import CrashError, InputError, one_line
from playbook.run_files import Result
from playbook.training import result
from playbook.training.build import Parts
from playbook.training.checkpoints import SafeCheckpointIO, step_of
from playbook.training.commit import Commits, History, Judges
from playbook.training.device import first_line, is_out_of_memory
from playbook.training.distributed import any_of
from playbook.training.evaluation import EVAL_BATCH_SIZE
from playbook.training.module import SETTLE_EVERY, StepSettings, TrialModule
from playbook.training.progress import TrialProgress
from playbook.training.signals import Interrupts

TRAINING_SAMPLE = 2048
"""Training examples that every evaluation looks at: enough to tell an error of 1 % to within 0.2 %."""
KEPT_EXAMPLES = 64
"""Validation examples whose predictions are kept at every evaluation (D2)."""


class Fit:
    """One trial on one rank, from where `history` ends."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        parts: Parts,
        history: History,
        environment: Mapping[str, Any],
        interrupts: Interrupts,
        verbose: bool,
    ) -> None:
        self._config = config
        self._parts = parts
        self._history = history
        self._environment = dict(environment)
        self._interrupts = interrupts
        self._infeasible: dict[str, Any] | None = None
        self._stopped = False
        self._progress = TrialProgress(
            total_steps=config.total_steps,
            batch_size=config.batch_size,
            objective=config.objective.metric,
            enabled=verbose and parts.rank.is_first,
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
            parts.rank,
            metric=config.objective.metric,
            mode=config.objective.mode,
            keep_best=config.keep_best,
            mirror=parts.mirror,
        )

    def run(self, resume_from: Path | None) -> Result | None:
        """Train to the end, or to where the trial turns out infeasible; None where a signal stopped it before."""
        self._module.step = 0 if resume_from is None else step_of(resume_from)
        if self._module.step < self._config.total_steps:
            self._train(resume_from)
        if not (self._infeasible or self._stopped) and self._module.step < self._config.total_steps:
            raise CrashError(
                f"a callback stopped training at step {self._module.step} of {self._config.total_steps};"
                " a trial runs all of its steps (D3)"
            )
        return None if self._stopped else self._result()

    def _train(self, resume_from: Path | None) -> None:
        checkpoint = None if resume_from is None else str(resume_from)
        try:
            with _without_lightning_advice():
                self._trainer.fit(self._module, ckpt_path=checkpoint, weights_only=True)
        except MisconfigurationException as error:  # a callback that asks for what this trainer does not have
            raise InputError(f"trainer.callbacks: {one_line(error)}") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or self._parts.rank.world_size > 1:
                raise
            self._module.recorder.settle()
            self._commits.flush_steps()
            self._give_up("out_of_memory", self._module.step, first_line(error))
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes it an exit code of 1
                raise error.__context__ from None
            raise
        finally:
            self._progress.stop()
            self._module.close()

    def started(self, step: int) -> None:
        """See `Observer`."""
        self._progress.start(step)
        if step == 0 and not self._history.objectives:  # not where the run goes on from that very commit
            self._commit(0)

    def step_done(self, step: int) -> None:
        """See `Observer`."""
        due = step % self._config.eval_every == 0 or step == self._config.total_steps
        alone = self._parts.rank.world_size == 1
        settles = due or step % SETTLE_EVERY == 0
        # Ranks must agree to stop, which they do where they communicate anyway.
        asked = self._interrupts.signum is not None
        stops = asked if alone else settles and any_of(asked, self._parts.rank, self._parts.device)
        if settles or stops:
            bad = self._module.recorder.settle()
            if bad is not None:
                self._commits.flush_steps(until=bad + 1)
                self._give_up("diverged", bad, "the training loss or the norm of its gradient is not finite")
                return
        if due:
            self._commit(step)
        if stops and step < self._config.total_steps:
            self._stop(step, saved=due or alone)
        elif self._progress.is_due(monotonic()):
            self._progress.show(step, self._module.recorder.last_loss)

    def state(self) -> dict[str, Any]:
        """See `Observer`."""
        return {
            "history": self._history.plain(),
            "hyper_parameters": self._config.plain(),
            "environment": self._environment,
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
        self._infeasible = {"reason": reason, "step": step, "message": message}
        self._trainer.should_stop = True

    def _stop(self, step: int, saved: bool) -> None:
        """End here because of a signal. Several ranks have different batch-norm averages between commits, and to save
        would be to make them equal at a step where an undisturbed run does not: they go back to the last commit.
        """
        if saved and step % self._config.eval_every:
            self._commits.save(step)
        self._stopped = True
        self._trainer.should_stop = True
        at = step if saved else self._history.objectives[-1][0]
        if self._parts.rank.is_first:
            self._progress.stop()
            total = self._config.total_steps
            without = ", without overwrite=true," if self._config.overwrite else ""
            print(
                f"stopped; saved at step {at} of {total}: the same command{without} goes on from there", file=sys.stderr
            )

    def _loader(self, start_step: int) -> StepLoader:
        return StepLoader(
            self._parts.train,
            batch_size=self._config.batch_size,
            seed=self._config.seed,
            num_steps=self._config.total_steps,
            start_step=start_step,
            rank=self._parts.rank.index,
            world_size=self._parts.rank.world_size,
            augmentation=self._parts.source.augmentation,
            num_workers=self._parts.source.num_workers,
            device=self._parts.device,
        )

    def _judges(self) -> Judges:
        parts = self._parts
        settings: dict[str, Any] = {
            "batch_size": max(EVAL_BATCH_SIZE, self._config.batch_size),
            "rank": parts.rank.index,
            "world_size": parts.rank.world_size,
            "num_workers": parts.source.num_workers,
            "device": parts.device,
        }
        # Which examples are looked at belongs to the data, not to the trial: trials are compared on the same ones.
        train_targets, validation_targets = parts.train.targets.cpu(), parts.validation.targets.cpu()
        sample = fixed_sample(train_targets, TRAINING_SAMPLE, seed=0)
        kept = fixed_sample(validation_targets, KEPT_EXAMPLES, seed=0)
        _check_for_skew("the fixed training sample", train_targets[sample], train_targets)
        _check_for_skew("the validation split", validation_targets, train_targets)
        ((inputs, targets),) = PassLoader(parts.validation, batch_size=KEPT_EXAMPLES, indices=kept, device=parts.device)
        return Judges(
            PassLoader(parts.validation, **settings),
            PassLoader(parts.train, indices=sample, **settings),
            (kept, inputs, targets),
        )

    def _result(self) -> Result:
        about: dict[str, Any] = {"seconds": self._commits.seconds, "environment": self._environment}
        if self._infeasible is not None:
            return result.infeasible(self._config, self._history, **self._infeasible, **about)
        targets = self._parts.validation.targets
        return result.complete(self._config, self._history, self._parts.task, targets, **about)


def _check_for_skew(name: str, few: Tensor, many: Tensor) -> None:
    distance = skew(few, many)
    if distance > SKEW_LIMIT:
        print(
            f"warning: the targets of {name} are distributed otherwise than those of the training split"
            f" (distance {distance:.2f} of 1): what is measured on it may not hold (D2)",
            file=sys.stderr,
        )


@contextmanager
def _without_lightning_advice() -> Iterator[None]:
    """Lightning's advice is for loops that it designs itself (loaders, epochs, loggers); ours would only distract."""
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


def _trainer(config: Config, folder: Path, parts: Parts) -> pl.Trainer:
    on_gpu = parts.device.type == "cuda"
    world_size = parts.rank.world_size
    if on_gpu:  # without it cuBLAS may sum in a different order each time
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    devices: Any = world_size
    if on_gpu:
        devices = list(range(world_size)) if world_size > 1 else [parts.device.index]
    with _without_lightning_advice():
        trainer = pl.Trainer(
            accelerator={"cuda": "gpu"}.get(parts.device.type, parts.device.type),
            devices=devices,
            # Running averages are made equal at commits, by us: broadcasting the first rank's would lose the others'.
            strategy=DDPStrategy(broadcast_buffers=False) if world_size > 1 else "auto",
            precision=config.trainer.precision,
            max_steps=config.total_steps,
            max_epochs=-1,
            deterministic="warn" if on_gpu else None,
            logger=parts.mirror.lightning_logger or False,
            callbacks=parts.callbacks,
            # The environment is named so that none is detected: inside Slurm, Lightning would requeue the job itself.
            plugins=[SafeCheckpointIO(), TorchElasticEnvironment() if world_size > 1 else LightningEnvironment()],
            default_root_dir=str(folder),
            limit_val_batches=0,  # evaluation is ours: at step 0, at the interval and at the end, always
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    # Targets keep their digits: only what goes through the network is converted to its precision.
    plugin, convert = trainer.precision_plugin, trainer.precision_plugin.convert_input
    plugin.convert_input = lambda data: (  # type: ignore[method-assign]
        (convert(data[0]), data[1]) if isinstance(data, tuple | list) else convert(data)
    )
    # Its SIGTERM handler speaks to other ranks from inside the signal, and ends a run with exit code 0; ours stay.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if world_size > 1:
        # Lightning 2.6 has all ranks wait for one another at every step to agree on SIGTERM; ours do when they settle.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer
