"""The one commit point of a trial: the end of an evaluation.

Records are flushed, then the best checkpoints are ranked, then the checkpoint to resume from is replaced, and only
then is anything deleted. Killed anywhere, the run goes on from the last commit as if it had never been further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from playbook.data import PassLoader
from playbook.loggers.base import RunLogger
from playbook.run_files import CHECKPOINTS, EVALS, PREDICTIONS, STEPS, Table
from playbook.training.checkpoints import best_path, keep_only, resume_path, saved
from playbook.training.distributed import Rank, average_running_statistics
from playbook.training.evaluation import evaluate, evaluating
from playbook.training.module import TrialModule

GENERATIONS = 2
"""Checkpoints to resume from that are kept: where the newest turns out damaged, the one before it serves."""


@dataclass
class History:
    """What a trial has to remember besides its weights; part of the checkpoint, so plain containers only."""

    objectives: list[tuple[int, float]] = field(default_factory=list)
    """(step, value of the objective) of every evaluation."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Those of the last evaluation."""
    seconds: float = 0.0
    """Spent so far, evaluations and commits included."""

    def best(self, mode: Literal["min", "max"], count: int) -> list[tuple[int, float]]:
        """The `count` best evaluations, best first; of equals the earlier one."""
        sign = 1 if mode == "min" else -1
        return sorted(self.objectives, key=lambda pair: (sign * pair[1], pair[0]))[:count]

    def plain(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> History:
        """From a checkpoint."""
        objectives = [(int(step), float(value)) for step, value in plain["objectives"]]
        return cls(objectives, dict(plain["metrics"]), float(plain["seconds"]))


@dataclass(frozen=True)
class Judges:
    """What an evaluation looks at: the whole validation split, a fixed sample of the training split, some examples."""

    validation: PassLoader
    training_sample: PassLoader
    examples: tuple[Tensor, Tensor, Tensor]
    """Number in the validation split, input and target of a fixed sample whose predictions are kept."""


class Commits:
    """Evaluates and saves a trial. `history` is where it stands."""

    def __init__(
        self,
        folder: Path,
        trainer: Trainer,
        module: TrialModule,
        judges: Judges,
        history: History,
        rank: Rank,
        *,
        metric: str,
        mode: Literal["min", "max"],
        keep_best: int,
        mirror: RunLogger,
    ) -> None:
        self.history = history
        self._checkpoints = folder / CHECKPOINTS
        self._trainer = trainer
        self._module = module
        self._judges = judges
        self._rank = rank
        self._metric = metric
        self._mode = mode
        self._keep_best = keep_best
        self._mirror = mirror
        self._tables = {name: Table(folder, name) for name in (STEPS, EVALS, PREDICTIONS)}
        self._began = perf_counter() - history.seconds

    @property
    def seconds(self) -> float:
        """Spent on the trial so far, those before an interruption included."""
        return perf_counter() - self._began

    def commit(self, step: int) -> bool:
        """Evaluate the weights after `step` updates and make everything up to them durable.

        False where a loss or the objective is not finite: the evaluation is recorded, the weights are not kept.
        """
        average_running_statistics(self._module.model, self._rank)
        metrics = self._evaluate(step)
        predictions = self._predict(step)
        judged = (self._metric, "val/loss", "train/eval_loss")
        finite = all(math.isfinite(metrics[name]) for name in judged if name in metrics)
        if finite:
            self.history.objectives.append((step, metrics[self._metric]))
        self.history.metrics = metrics
        self.history.seconds = self.seconds
        self.flush_steps()
        if self._rank.is_first:
            self._tables[EVALS].append((step, name, value) for name, value in metrics.items())
            self._tables[PREDICTIONS].append(predictions)
        self._mirror.log_evaluation(step, metrics, predictions)
        if finite:
            best = [kept for kept, _ in self.history.best(self._mode, self._keep_best)]
            if step in best:
                self._trainer.save_checkpoint(best_path(self._checkpoints, step), weights_only=True)
            self._save_to_resume(step)
        self._module.stop_clock()
        return finite

    def save(self, step: int) -> None:
        """Make everything up to `step` durable without an evaluation, which an undisturbed run would not have here."""
        self.history.seconds = self.seconds
        self.flush_steps()
        self._save_to_resume(step)

    def flush_steps(self, until: int | None = None) -> None:
        """Write the rows of the settled steps (before `until`)."""
        rows = self._module.recorder.drain(until)
        if len(rows) and self._rank.is_first:
            self._tables[STEPS].append(rows.rows())
        self._mirror.log_steps(rows)

    def _evaluate(self, step: int) -> dict[str, float]:
        model, task, precision = self._module.model, self._module.task, self._trainer.precision_plugin
        validation = evaluate(model, task, self._judges.validation, precision=precision)
        training = evaluate(model, task, self._judges.training_sample, precision=precision)
        sizes_said = step > 0  # how many examples a class has does not change
        metrics = {f"val/{n}": v for n, v in validation.items() if not (sizes_said and n.startswith("examples/"))}
        # `train/loss` is the loss of a training step; this one is of a fixed sample, without dropout or augmentation.
        return metrics | {"train/error": training["error"], "train/eval_loss": training["loss"]}

    @torch.no_grad()
    def _predict(self, step: int) -> list[tuple[Any, ...]]:
        numbers, inputs, targets = self._judges.examples
        model, precision = self._module.model, self._trainer.precision_plugin
        with evaluating(model), precision.forward_context():
            outputs = model(precision.convert_input(inputs))
        described = self._module.task.describe(outputs, targets)
        return [(step, number, *row) for number, row in zip(numbers.tolist(), described, strict=True)]

    def _save_to_resume(self, step: int) -> None:
        self._trainer.save_checkpoint(resume_path(self._checkpoints, step), weights_only=False)
        if self._rank.is_first:
            best = [kept for kept, _ in self.history.best(self._mode, self._keep_best)]
            generations = saved(self._checkpoints, "resume")[-GENERATIONS:]
            keep_only(self._checkpoints, [*generations, *(best_path(self._checkpoints, kept) for kept in best)])
