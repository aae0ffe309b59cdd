"""The loop of a trial, from top to bottom: evaluate and commit at step 0; then step, and at the interval and at the end
evaluate and commit again; stop where a signal asks for it or training has diverged.

There is one commit point, the end of an evaluation. Records are flushed, then the best checkpoints are ranked, then the
checkpoint to resume from is replaced, and only then is anything deleted. Killed anywhere, the run goes on from the last
commit as if it had never been further.

Lightning calls the hooks below (`playbook.training.lightning_adapter` says what of it is not used). The loop holds all
of its per-step work itself: a Lightning callback is called at some twenty places a step, whether it implements them or
not, which costs a small network a tenth of its step.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from playbook.batch import Batch
from playbook.data import StepLoader
from playbook.errors import CrashError
from playbook.examples import ExampleRecord
from playbook.optim import evaluation_weights, learning_rate
from playbook.randomness import Stream, fold_in
from playbook.run_files import CHECKPOINTS, EVALS, EXAMPLES, PREDICTIONS, STEPS, TABLES, Result, Table
from playbook.training import result
from playbook.training.averaging import AVERAGED_WEIGHTS, AveragedWeights
from playbook.training.build import TrialSetup
from playbook.training.checkpoints import best_path, commit_path, keep, resume_path
from playbook.training.compilation import compile_training, uncompiled
from playbook.training.distributed import any_of, average_running_statistics
from playbook.training.evaluation_callback import EvaluationCallback, Weights
from playbook.training.evaluator import Evaluator
from playbook.training.lightning_adapter import LeanModule, WholeRun, averaged_weights, fit, make_trainer
from playbook.training.micro_batches import warn_of_batch_norm, weighted_loss
from playbook.training.num_workers import num_workers_for
from playbook.training.progress import TrialProgress
from playbook.training.signals import Interrupts
from playbook.training.state import RunState
from playbook.training.step_buffer import StepBuffer

SETTLE_EVERY = 50
"""Steps between two looks at the buffered losses: the longest that a diverged trial goes on."""


class TrialLoop(LeanModule):
    """Trains what `setup` holds, from `state` on, which it keeps up to date."""

    plain_attributes = LeanModule.plain_attributes | {"_clock"}

    def __init__(self, setup: TrialSetup, state: RunState, interrupts: Interrupts, *, verbose: bool) -> None:
        super().__init__(setup.model, setup.task)
        config = setup.config
        assert config.output_dir is not None
        self.buffer = StepBuffer(config.clip_norm)
        self._setup = setup
        self._config = config
        self._rank = setup.rank
        self._state = state
        self._interrupts = interrupts
        self._folder = Path(config.output_dir)
        self._tables = {name: Table(self._folder, name, state.tables.get(name)) for name in TABLES}
        self._examples = ExampleRecord(self._folder, mark=state.tables.get(EXAMPLES))
        self._evaluator = Evaluator(setup)
        self._optimizer = setup.optimizer
        # A group with a learning rate of its own keeps its share of the base rate (layer-wise rates, muP).
        self._lr_ratios = [group["lr"] / config.lr for group in setup.optimizer.param_groups]
        self._parameters_with_grad = [p for p in self.model.parameters() if p.requires_grad]
        self._loader: StepLoader | None = None
        self._average: AveragedWeights | None = None
        self._saved_average: Mapping[str, Tensor] | None = None
        self._infeasible: dict[str, Any] | None = None
        self._interrupted = False
        self._began = perf_counter() - state.seconds
        self._clock = perf_counter()
        self._progress = TrialProgress(
            total_steps=config.total_steps,
            batch_size=config.batch_size,
            objective=config.objective.metric,
            enabled=verbose and self._rank.is_first,
        )
        if self._rank.is_first and config.trainer.micro_batch_size is not None:
            warn_of_batch_norm(setup.model, config.trainer.micro_batch_size)
        if config.trainer.compile:
            compile_training(setup.model)

    @property
    def step(self) -> int:
        """Updates that are done."""
        return self._state.step

    def run(self) -> Result | None:
        """Train to the end, to `pause_at`, or to where the trial turns out infeasible; None where a signal stopped it.

        Raises:
            InputError: a callback asks for what this trainer does not have.
            CrashError: a callback, or StopIteration, ended training before its last step.
        """
        config = self._config
        if self.step < config.total_steps and not self._is_paused:
            trainer = make_trainer(
                config.trainer,
                max_steps=config.total_steps,
                device=self._setup.device,
                rank=self._rank,
                callbacks=self._setup.callbacks,
                logger=self._setup.logger.lightning_logger,
                folder=self._folder,
            )
            try:
                fit(trainer, self, self._state.checkpoint)
            finally:
                self._progress.stop()
                self._loader = None  # the data, which a reference cycle within Lightning would keep on the device
        self._state.seconds = self._seconds
        if self._infeasible is not None:
            return result.infeasible(config, self._state, **self._infeasible)
        if self._interrupted:
            return None
        if self._is_paused:
            return result.paused(config, self._state, self._evaluator.num_judged)
        if self.step < config.total_steps:
            raise CrashError(
                f"a callback stopped training at step {self.step} of {config.total_steps};"
                " a trial runs all of its steps (D3)"
            )
        if self._state.objectives[-1][0] < config.total_steps:
            self._refuse_stop_iteration()
        evaluator, validation = self._evaluator, self._setup.validation
        batches = evaluator.whole_validation_split()
        return result.complete(config, self._state, self.task, validation, batches, evaluator.num_judged)

    # What Lightning asks for, and what it calls, in the order of its calls.

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer

    def train_dataloader(self) -> Iterable[Any]:
        """The batches of the steps that are still to come."""
        config, setup = self._config, self._setup

        def loader(num_workers: int) -> StepLoader:
            return StepLoader(
                setup.train,
                batch_size=config.batch_size,
                seed=config.seed,
                num_steps=config.total_steps,
                start_step=self.step,
                rank=self._rank.index,
                world_size=self._rank.world_size,
                augmentation=setup.source.augmentation,
                num_workers=num_workers,
                device=setup.device,
            )

        num_workers = self._evaluator.num_workers = num_workers_for(setup.source, loader(0), self._rank)
        self._loader = loader(num_workers)
        return WholeRun(self._loader, config.total_steps)

    def on_train_start(self) -> None:
        assert self.step == self.trainer.global_step, "the checkpoint says how far it is"
        self.buffer.first_step = self.step
        self.buffer.world_size = self._rank.world_size
        self._forward_seed = fold_in(self._config.seed, Stream.FORWARD, self._rank.index)
        self._generators = [torch.default_generator]
        if self.device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[self.device.index or 0])
        elif self.device.type == "mps":
            self._generators.append(torch.mps._get_default_mps_generator())
        if self._setup.averaging is not None:  # here, where the weights have their precision
            steps = self._config.total_steps
            self._average = AveragedWeights(self.model, self._setup.averaging, steps, self._saved_average)
        self._progress.start(self.step)
        if not self._state.objectives:  # not where the run goes on from that very commit
            self.commit()
        self._clock = perf_counter()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """The step's random numbers and learning rate depend on its number alone."""
        step, config = self._state.step, self._config
        seed = fold_in(self._forward_seed, step)
        for generator in self._generators:
            generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed & 0xFFFFFFFF)
        lr = learning_rate(
            step,
            lr=config.lr,
            schedule=self._setup.schedule,
            max_steps=config.max_steps,
            warmup_steps=config.warmup_steps,
        )
        for group, ratio in zip(self._optimizer.param_groups, self._lr_ratios, strict=True):
            group["lr"] = lr * ratio
        self.buffer.lrs.append(lr)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        size = self._config.trainer.micro_batch_size
        if size is None and self._rank.world_size == 1:
            loss = self.task.training_loss(self.model, batch)
        else:
            loss = weighted_loss(self.task, self.model, batch, size, self._rank)
        self.buffer.losses.append(loss.detach())
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """The global norm of the gradient before clipping (E7): computed once, for the log, the clip, the alarm."""
        grads = [p.grad for p in self._parameters_with_grad if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        self.buffer.grad_norms.append(norm)
        if self._config.clip_norm is not None:
            torch._foreach_mul_(grads, (self._config.clip_norm / norm).clamp(max=1.0))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Close the step's record; evaluate, save and stop when it is due."""
        assert self._loader is not None
        now = perf_counter()
        self.buffer.data_seconds.append(self._loader.wait_seconds)
        self.buffer.step_seconds.append(now - self._clock)
        self._clock = now
        self._state.step += 1
        if self._average is not None:
            self._average.update(self._state.step)
        for param in self._parameters_with_grad:
            param.grad = None

        step, total_steps = self._state.step, self._config.total_steps
        due = self._config.is_evaluated_at(step)
        alone = self._rank.world_size == 1
        settles = due or step % SETTLE_EVERY == 0
        # Ranks must agree to stop, which they do where they communicate anyway.
        asked = self._interrupts.signum is not None
        stops = asked if alone else settles and any_of(asked, self._rank, self._setup.device)
        if settles or stops:
            diverged_at = self.buffer.settle()
            if diverged_at is not None:
                self._write_steps(until=diverged_at + 1)
                self._end_as_diverged(diverged_at, "the training loss or the norm of its gradient is not finite")
                return
        if due:
            self.commit()
        if stops and step < total_steps:
            self._end_as_interrupted(committed=due, can_save=alone)
        elif due and self._is_paused:
            self.trainer.should_stop = True
        elif self._progress.is_due(monotonic()):
            self._progress.show(step, self.buffer.last_loss)

    def on_train_epoch_end(self) -> None:
        """The one pass over the loader ends with the last step. Lightning takes a StopIteration from anywhere for its
        end, and would begin another."""
        if self.step < self._config.total_steps and not self.trainer.should_stop:
            self._refuse_stop_iteration()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._saved_average = checkpoint.get(AVERAGED_WEIGHTS)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        setup, targets = self._setup, self._setup.train.targets
        checkpoint.update(
            self._state.plain(),
            hyper_parameters=self._config.plain(),
            shape={
                "input_shape": setup.train.input_shape,
                "num_outputs": setup.task.num_outputs,
                "num_classes": setup.facts["num_classes"],
                "target_shape": None if targets is None else list(targets.shape[1:]),
                "target_dtype": None if targets is None else str(targets.dtype).removeprefix("torch."),
                "facts": setup.facts,
            },
        )
        if self._average is not None:
            checkpoint[AVERAGED_WEIGHTS] = self._average.state_dict()

    # The commit.

    def commit(self) -> None:
        """Evaluate the weights and make everything up to them durable.

        Where a loss or the objective is not finite, the evaluation is recorded, the weights are not kept, and the trial
        ends as diverged.
        """
        config, state = self._config, self._state
        average_running_statistics(self.model, self._rank)
        with uncompiled(config.trainer.compile):
            measured = self._measured_by_callbacks()
        with (
            uncompiled(config.trainer.compile),
            averaged_weights(self.trainer, self),
            evaluation_weights(self._optimizer),
        ):
            precision = self.trainer.precision_plugin
            found = self._evaluator.evaluate(self.model, precision, state.step)
            if self._average is not None:
                with self._average.in_the_model(self.task, self._evaluator.whole_training_sample(), precision):
                    found |= self._evaluator.evaluate_average(self.model, precision, state.step)
            metrics = found.metrics | measured
            decisive = (config.objective.metric, "val/loss", "train/eval_loss")
            finite = all(math.isfinite(metrics[name]) for name in decisive if name in metrics)
            state.metrics = metrics
            state.seconds = self._seconds
            if finite:
                state.objectives.append((state.step, metrics[config.objective.metric]))
                se = metrics.get(f"{config.objective.metric}_se", math.nan)
                if math.isfinite(se):
                    state.standard_errors[state.step] = se
            self._write_steps()
            self._append(EVALS, ((state.step, name, value) for name, value in metrics.items()))
            self._append(PREDICTIONS, found.predictions)
            if found.examples is not None and self._rank.is_first:
                self._examples.append(state.step, *found.examples)
                state.tables[EXAMPLES] = self._examples.mark
            self._setup.logger.log_evaluation(state.step, metrics, found.predictions)
            if finite and state.step in self._best_steps():
                path = best_path(self._folder / CHECKPOINTS, state.step)
                self.trainer.save_checkpoint(path, weights_only=True)
        if finite:
            self._save_to_resume()
            self._progress.evaluated(metrics[config.objective.metric])
        else:
            self._end_as_diverged(state.step, "the loss of an evaluation is not finite")
        self._clock = perf_counter()  # an evaluation is not part of the next step

    def _measured_by_callbacks(self) -> dict[str, float]:
        """Of the weights that are trained, where an average of them is evaluated."""
        callbacks = [each for each in self._setup.callbacks if isinstance(each, EvaluationCallback)]
        if not callbacks:
            return {}
        setup, precision = self._setup, self.trainer.precision_plugin
        weights = Weights(
            self.step, self.model, self.task, setup.train, setup.device, precision, seed=self._config.seed
        )
        return {name: value for each in callbacks for name, value in each.measure(weights).items()}

    def _save_to_resume(self) -> None:
        checkpoints = self._folder / CHECKPOINTS
        if self.step in self._config.keep_commits:
            self.trainer.save_checkpoint(commit_path(checkpoints, self.step), weights_only=False)
        self.trainer.save_checkpoint(resume_path(checkpoints, self.step), weights_only=False)
        if self._rank.is_first:
            keep(checkpoints, self._state.weights_to_keep(self._config))

    def _best_steps(self) -> list[int]:
        return [step for step, _ in self._state.best(self._config.objective.mode, self._config.keep_best)]

    def record_steps(self) -> None:
        """Write the rows of all steps that were done, where the trial ends between two commits."""
        self.buffer.settle()
        self._write_steps()
        self._state.seconds = self._seconds

    def _write_steps(self, until: int | None = None) -> None:
        """Write the rows of the settled steps (before `until`)."""
        rows = self.buffer.drain(until)
        if len(rows):
            self._append(STEPS, rows.rows())
        self._setup.logger.log_steps(rows)

    def _append(self, name: str, rows: Iterable[tuple[Any, ...]]) -> None:
        if self._rank.is_first:
            self._tables[name].append(rows)
            self._state.tables[name] = self._tables[name].mark

    @property
    def _is_paused(self) -> bool:
        """Whether it has come to where it was told to pause, before its end."""
        pause_at = self._config.pause_at
        return pause_at is not None and pause_at <= self.step < self._config.total_steps

    @property
    def _seconds(self) -> float:
        """Spent on the trial so far, those before an interruption included."""
        return perf_counter() - self._began

    # The end.

    def _refuse_stop_iteration(self) -> NoReturn:
        raise CrashError(
            f"StopIteration was raised in step {self.step}: the model, data, optimizer, metric or callback has a bug"
        )

    def _end_as_diverged(self, step: int, message: str) -> None:
        self._infeasible = {"reason": "diverged", "step": step, "message": message}
        self.trainer.should_stop = True

    def _end_as_interrupted(self, *, committed: bool, can_save: bool) -> None:
        """End here because of a signal. Several ranks have different batch-norm averages between commits, and to save
        would be to make them equal at a step where an undisturbed run does not: they go back to the last commit.

        What is saved has no evaluation, which an undisturbed run would not have here.
        """
        saved_at = self.step if committed or can_save else self._state.objectives[-1][0]
        if can_save and not committed:
            self._state.seconds = self._seconds
            self._write_steps()
            self._save_to_resume()
        self._interrupted = True
        self.trainer.should_stop = True
        if self._rank.is_first:
            self._progress.stop()
            without = ", without overwrite=true," if self._config.overwrite else ""
            print(
                f"stopped; saved at step {saved_at} of {self._config.total_steps}: the same command{without} goes on"
                " from there",
                file=sys.stderr,
            )
