"""What an evaluation measures: the metrics of the validation split and of a fixed sample of the training split, some
predictions to look at, and what each example had to say about the objective.

Which examples these are belongs to the data, not to the trial: trials are compared on the same ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from numpy.typing import NDArray
from pytorch_lightning.plugins.precision.precision import Precision
from torch import Tensor, nn

from playbook.batch import split
from playbook.data import PassLoader, Split
from playbook.data.stratify import SKEW_LIMIT, labels_of, sample_of, skew
from playbook.examples import About
from playbook.training.averaging import AVERAGED
from playbook.training.build import TrialSetup
from playbook.training.data import DATA
from playbook.training.evaluation import TRAINING_METRICS, evaluate, evaluating, warn_of_the_sample
from playbook.training.example_values import ExampleValues
from playbook.training.memory import is_out_of_memory

SHOWN_EXAMPLES = 64
"""Validation examples whose predictions are kept at every evaluation (D2)."""


@dataclass(frozen=True)
class Evaluation:
    """The metrics by name, the rows of `predictions.csv`, and what belongs into `examples.bin`, if anything does."""

    metrics: dict[str, float]
    predictions: list[tuple[Any, ...]]
    examples: tuple[About, NDArray[Any]] | None

    def __or__(self, other: Evaluation) -> Evaluation:
        """Both; where both have predictions or examples, those of the other."""
        return Evaluation(
            self.metrics | other.metrics, other.predictions or self.predictions, other.examples or self.examples
        )


class Evaluator:
    """Evaluates a model with the task and the data of `setup`; warns of samples that misrepresent their split."""

    num_workers = 0

    def __init__(self, setup: TrialSetup) -> None:
        self._setup = setup
        self._batch_size = setup.eval_batch_size
        self._objective = part_and_name(setup.config.objective.metric)
        validation = setup.validation
        self._training_sample = sample_of(setup.train, setup.task.training_sample, seed=0)
        self._shown = sample_of(validation, SHOWN_EXAMPLES, seed=0)
        (self._shown_batch,) = PassLoader(
            validation, batch_size=SHOWN_EXAMPLES, indices=self._shown, device=setup.device
        )
        size = setup.config.eval_examples or len(validation)
        self._validation_sample = sample_of(validation, size, seed=0) if size < len(validation) else None
        of_training = self._objective[0] == "train"
        self._examples = ExampleValues(
            setup.config.objective,
            setup.train if of_training else validation,
            self._training_sample if of_training else self._validation_sample,
            setup.fingerprints[DATA],
            setup.rank,
        )
        if setup.rank.is_first:
            self._warn()

    @property
    def num_judged(self) -> int:
        """The examples that the objective is measured on."""
        return self._examples.num_judged

    def whole_validation_split(self) -> PassLoader:
        """All of it on each rank, also where a sample is judged."""
        return self._pass(self._setup.validation, None)

    def whole_training_sample(self) -> PassLoader:
        """The sample of the training split, all of it on each rank."""
        return self._pass(self._setup.train, self._training_sample)

    def evaluate(self, model: nn.Module, precision: Precision, step: int) -> Evaluation:
        """The model's weights after `step` updates."""
        return self._fitting(lambda: self._evaluate(model, precision, step))

    def evaluate_average(self, model: nn.Module, precision: Precision, step: int) -> Evaluation:
        """The same weights, averaged, which the model has now: on the validation split."""
        return self._fitting(lambda: self._evaluate_average(model, precision, step))

    def _evaluate(self, model: nn.Module, precision: Precision, step: int) -> Evaluation:
        validation, examples = self._judge("val", model, precision)
        training, of_training = self._judge("train", model, precision)
        sizes_said = step > 0  # how many examples a class has does not change
        metrics = {f"val/{n}": v for n, v in validation.items() if not (sizes_said and n.startswith("examples/"))}
        named = {n + end: of + end for n, of in TRAINING_METRICS.items() for end in ("", "_se")}
        metrics |= {of: training[n] for n, of in named.items() if n in training}
        if self._validation_sample is not None and step == self._setup.config.total_steps:
            metrics |= self._judge_whole(model, precision, metrics)
        return Evaluation(metrics, self._predict(model, precision, step), examples or of_training)

    def _evaluate_average(self, model: nn.Module, precision: Precision, step: int) -> Evaluation:
        metrics, examples = self._judge(AVERAGED, model, precision)
        metrics = {f"{AVERAGED}/{n}": value for n, value in metrics.items() if not n.startswith("examples/")}
        shown = self._predict(model, precision, step) if self._objective[0] == AVERAGED else []
        return Evaluation(metrics, shown, examples)

    def _judge_whole(self, model: nn.Module, precision: Precision, of_sample: dict[str, float]) -> dict[str, float]:
        """The objective of the whole split, where a sample of it is judged; said where they are far apart."""
        (part, objective), config = self._objective, self._setup.config
        if part != "val":
            return {}
        whole = evaluate(
            model, self._setup.task, self._share(self._setup.validation, None), precision=precision, objective=objective
        )
        metrics = {f"val_full/{n}": whole[n] for n in (objective, f"{objective}_se") if n in whole}
        if self._setup.rank.is_first and self._validation_sample is not None:
            share = len(self._validation_sample) / len(self._setup.validation)
            warn_of_the_sample(config.objective.metric, of_sample | metrics, share)
        return metrics

    def _judge(
        self, part: str, model: nn.Module, precision: Precision
    ) -> tuple[dict[str, float], tuple[About, NDArray[Any]] | None]:
        """The metrics of a part, and what its examples have to say, if the objective is a metric of it."""
        setup, (of, objective) = self._setup, self._objective
        if part == "train":
            loader = self._share(setup.train, self._training_sample)
        else:
            loader = self._share(setup.validation, self._validation_sample)
        if part != of:
            return evaluate(model, setup.task, loader, precision=precision), None
        metrics = evaluate(model, setup.task, loader, precision=precision, objective=objective, examples=self._examples)
        return metrics, self._examples.end()

    def _share(self, examples: Split, indices: Tensor | None) -> PassLoader:
        """The batches of this rank."""
        rank = self._setup.rank
        return self._pass(examples, indices, rank.index, rank.world_size)

    def _pass(self, examples: Split, indices: Tensor | None, rank: int = 0, world_size: int = 1) -> PassLoader:
        return PassLoader(
            examples,
            batch_size=self._batch_size,
            indices=indices,
            rank=rank,
            world_size=world_size,
            num_workers=self.num_workers,
            device=self._setup.device,
        )

    @torch.no_grad()
    def _predict(self, model: nn.Module, precision: Precision, step: int) -> list[tuple[Any, ...]]:
        described, task = [], self._setup.task
        for batch in split(self._shown_batch, self._batch_size):
            with evaluating(model), precision.forward_context():
                outputs = task.outputs(model, precision.convert_input(batch.inputs))
            described += task.describe(outputs, task.targets(batch))
        return [(step, number, *row) for number, row in zip(self._shown.tolist(), described, strict=True)]

    def _fitting(self, evaluation: Callable[[], Evaluation]) -> Evaluation:
        """Again with half of the batch, where memory runs out and its size is ours to choose."""
        setup = self._setup
        ours = setup.config.eval_batch_size == "auto" and setup.rank.world_size == 1
        while True:
            try:
                return evaluation()
            except (RuntimeError, MemoryError) as error:
                if not (ours and self._batch_size > 1 and is_out_of_memory(error)):
                    raise
            self._batch_size //= 2
            if setup.device.type == "cuda":
                torch.cuda.empty_cache()

    def _warn(self) -> None:
        setup, sample = self._setup, self._validation_sample
        if setup.config.fold_validation:
            _say("fold_validation=true: the validation examples are trained on, and val/… says nothing of new ones")
        for caveat in setup.source.caveats():
            _say(caveat)
        training, validation = labels_of(setup.train), labels_of(setup.validation)
        if training is not None and validation is not None:
            _say_of_skew("the fixed training sample", skew(training[self._training_sample], training))
            _say_of_skew("the validation split", skew(validation, training))
        if sample is not None and validation is not None:
            _say_of_skew("the fixed validation sample", skew(validation[sample], validation), "whole")


def part_and_name(objective: str) -> tuple[str, str]:
    """`val/error` is `error` of `val`; `train/eval_loss` is `loss` of `train`."""
    part, _, name = objective.partition("/")
    return part, {of_training: n for n, of_training in TRAINING_METRICS.items()}.get(objective, name)


def _say_of_skew(name: str, distance: float, of: str = "training") -> None:
    if distance > SKEW_LIMIT:
        _say(
            f"the targets of {name} are distributed otherwise than those of the {of} split"
            f" (distance {distance:.2f} of 1): what is measured on it may not hold (D2)"
        )


@cache
def _say(fact: str) -> None:
    """Once a process: it is a fact of the data, which the trials of a study share."""
    print(f"warning: {fact}", file=sys.stderr)
