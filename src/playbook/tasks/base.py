"""What a model is asked to do: the loss, the metrics that judge it, and what chance would get.

A task is a module, because what it learnt from the training split's targets (class frequencies, their mean and
spread) belongs into the checkpoint beside the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from playbook.batch import Batch, Tree, map_tensors, num_examples, shapes, to_device
from playbook.errors import InputError
from playbook.tasks.noise import StandardError

SHOWN_NUMBERS = 16
"""How many numbers of a target and of a prediction `predictions.csv` has, where `describe` is not overridden."""


class Task(nn.Module):
    """Subclass it for a new kind of problem; an option in `conf/task/` names the subclass.

    `loss` and `own_metrics` are needed; the rest has defaults. What inputs, targets and outputs are is the task's to
    say: tensors of any dtype and shape, or dicts, tuples and lists of them (`playbook.batch`).

    `num_outputs` is how many numbers the model gives for an example; None where no model needs to be told. The
    constructor is supplied with `train_targets` (`Split.targets` of the training split: all of them in one tensor, or
    None), `num_classes` (None where targets are no classes) and what else the data supply (`Source.supplies`), if it
    takes them; `metrics`, if it takes it, are the torchmetrics objects of the config's `task.metrics`, by name.
    """

    num_outputs: int | None = None
    training_sample: int = 2048
    """Training examples that every evaluation looks at: enough to tell an error of 1 % to within 0.2 %."""
    perfect_error: float | None = None
    """The `error` of a model that makes no mistake, where one can get there: 0 of a share of labels that are missed.
    None of a distance, which never is."""

    def __init__(self, metrics: Mapping[str, Metric] | None = None) -> None:
        super().__init__()
        self._more_metrics = dict(metrics or {})
        for name, metric in self._more_metrics.items():
            if not isinstance(metric, Metric):
                kind = metric if isinstance(metric, (int, float, str)) else type(metric).__name__
                raise InputError(f"task.metrics.{name}={kind}: a torchmetrics class is needed")

    # What is trained.

    @abstractmethod
    def loss(self, outputs: Tree, targets: Tree) -> Tensor:
        """The training loss of a batch, a scalar: the mean over its examples, or over what `weight` counts."""

    def outputs(self, model: nn.Module, inputs: Tree) -> Tree:
        """What the model makes of inputs, in training, evaluation and use: `model(inputs)`, if it takes them so."""
        return model(inputs)

    def targets(self, batch: Batch) -> Tree:
        """What outputs are compared with: the batch's targets. A task without labels takes them from the inputs."""
        return batch.targets

    def training_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a training step. Override it where the loss needs the model itself, or several passes."""
        return self.loss(self.outputs(model, batch.inputs), self.targets(batch))

    def weight(self, batch: Batch) -> int | Tensor:
        """How many terms the loss of a batch is the mean of: its examples, unless the task says otherwise.

        The losses of micro-batches, and of ranks, are weighted with it, so that together they are that of the batch.
        """
        return num_examples(batch)

    def check(self, outputs: Tree, batch: Batch) -> None:
        """Look at a model's first outputs, before anything is written.

        By default they are of shape (examples, num_outputs), where `num_outputs` is not None.

        Raises:
            InputError: they do not fit. The line goes on after the model's name: `it gives (2, 12) for inputs of …`.
        """
        if self.num_outputs is not None:
            refuse_other_shape(outputs, batch, (num_examples(batch), self.num_outputs), "(examples, num_outputs)")

    # What it is judged by.

    @abstractmethod
    def own_metrics(self) -> Metric:
        """A fresh metric of `update(outputs, targets)` (see `judged`) whose `compute()` is a dict of numbers, by name.

        Among them is what the objective of the config minimises: `error`, unless it says otherwise. `loss` should be
        `self.loss` over all examples.
        """

    def predict(self, outputs: Tree) -> Tree:
        """The model's outputs in the units of the targets, such as probabilities; the outputs as they are by default.

        The metrics of the config judge these, and `load_run(…).model()` returns them.
        """
        return outputs

    def describe(self, outputs: Tree, targets: Tree) -> list[tuple[str, str, Any]]:
        """(target, prediction, score) of each example, to look at: a row each of `predictions.csv`.

        By default the numbers of both (at most `SHOWN_NUMBERS`), and their mean distance where both are tensors of the
        same shape.
        """
        predictions, targets = (to_device(tree, "cpu") for tree in (self.predict(outputs), targets))
        count = num_examples(predictions)
        predictions = map_tensors(at_least_float32, predictions)
        if isinstance(targets, Tensor) and isinstance(predictions, Tensor) and predictions.shape == targets.shape:
            scores = (predictions.float() - targets).abs().reshape(count, -1).mean(1)
        else:
            scores = torch.full((count,), float("nan"))
        return [(_numbers(targets, i), _numbers(predictions, i), scores[i].numpy()[()]) for i in range(count)]

    def chance(self, targets: Tensor) -> dict[str, float]:
        """What the best constant prediction, learnt from the training split, gets on `targets`, by metric (A10).

        `targets` are all those of a split, as `Split.targets` has them. Empty by default: nothing is said of chance.
        """
        return {}

    def chance_over(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The same where `chance` does not say it: targets are not labels, or come only with the batches."""
        return {}

    def judged(self, outputs: Tree, targets: Tree) -> Tree:
        """What `own_metrics` and `example_values` are given in place of the outputs, which it is by default.

        Override it where both begin with the same work that takes long: it is done once.
        """
        return outputs

    def example_values(self, metric: str, outputs: Tree, targets: Tree) -> Tensor | tuple[Tensor, Tensor] | None:
        """What each example has to say: values (n,) of which `metric` is the mean over examples, or values and weights.

        `metric` may also be a function that grows with the mean. From them an evaluation records the standard error of
        the objective, `val/<metric>_se`, and the values themselves, which makes comparisons of trials paired: a bit an
        example where they are truth values. None, the default, where that metric is no such mean: nothing is recorded.
        """
        return None

    def standard_error(self, metric: str, mean: float, se: float) -> float:
        """The standard error of `metric`, from that of the mean of `example_values`: the same, where they are equal.

        Where the metric is a function of the mean, that function's slope at `mean` times `se`.
        """
        return se

    def metrics(self, objective: str | None = None) -> TaskMetrics:
        """Fresh metrics of one evaluation, those of the config included, and the standard error of `objective`."""
        return TaskMetrics(self, {name: metric.clone() for name, metric in self._more_metrics.items()}, objective)


class TaskMetrics(nn.Module):
    """The metrics of one evaluation, exact over batches and ranks.

    The task's own see the model's outputs, those of the config what `predict` makes of them: torchmetrics compares
    numbers with targets, which for a regression are in other units than the outputs.
    """

    def __init__(self, task: Task, more: Mapping[str, Metric], objective: str | None) -> None:
        super().__init__()
        self._own = task.own_metrics()
        self._more = MetricCollection(dict(more))
        self._noise = StandardError() if objective is not None else None
        self._objective = objective or ""
        self._predict: Callable[[Tree], Tree] = task.predict
        self._judged = task.judged
        self._example_values = task.example_values
        self._standard_error = task.standard_error

    def update(self, outputs: Tree, targets: Tree) -> tuple[Tensor, Tensor | None] | None:
        """Take in a batch, from whichever device it is on; what its examples have to say, and their weights."""
        device = self._own.device
        targets = to_device(targets, device)
        judged = self._judged(to_device(outputs, device), targets)
        self._own.update(judged, targets)
        if len(self._more):
            self._more.update(to_device(self._predict(outputs), device), targets)
        if self._noise is None or (given := self._example_values(self._objective, judged, targets)) is None:
            return None
        values, weights = given if isinstance(given, tuple) else (given, None)
        self._noise.update(values, weights)
        return values, weights

    def compute(self) -> dict[str, Any]:
        """The value of each, by name, of everything that was seen on all ranks.

        Raises:
            InputError: the config gives a metric the name of one of the task's own.
        """
        own: dict[str, Any] = self._own.compute()
        more: dict[str, Any] = self._more.compute() if len(self._more) else {}
        if taken := sorted(own.keys() & more.keys()):
            raise InputError(f"task.metrics.{taken[0]}: the task has a metric of this name; give yours another")
        noise = {}
        if self._noise is not None:
            mean, se = self._noise.compute()
            if se is not None:
                noise[f"{self._objective}_se"] = self._standard_error(self._objective, mean, se)
        return own | more | noise


def refuse_other_shape(outputs: Tree, batch: Batch, needed: tuple[int, ...], meaning: str) -> None:
    """Outputs that are no tensor of the shape `needed`, whose `meaning` is in words: for `Task.check`."""
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != needed:
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise InputError(f"it gives {found} for inputs of {shapes(batch.inputs)}; {needed} is needed {meaning}")


def at_least_float32(outputs: Tensor) -> Tensor:
    """What was computed in bfloat16 as float32, before it is turned into predictions; float64 stays."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _numbers(tree: Tree, index: int) -> str:
    """`1.5 2`, the first numbers of one example; the parts of a tree follow one another."""
    flat: list[float] = []
    map_tensors(lambda tensor: flat.extend(tensor[index].reshape(-1)[: SHOWN_NUMBERS + 1].tolist()), tree)
    return " ".join([f"{value:.6g}" for value in flat[:SHOWN_NUMBERS]] + ["…"] * (len(flat) > SHOWN_NUMBERS))
