"""What a model is asked to do: the loss, the metrics that judge it, and what chance would get.

A task is a module, because what it learnt from the training split's targets (class frequencies, their mean and
spread) belongs into the checkpoint beside the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from playbook.errors import InputError


class Task(nn.Module):
    """Subclass it for a new kind of problem; an option in `conf/task/` names the subclass.

    `num_outputs`, `loss` and `own_metrics` are needed; the rest has defaults. `num_outputs` is how many numbers the
    model gives for an example. The constructor is supplied with `train_targets` (all targets of the training split)
    and `num_classes` (None for real-valued targets), if it takes them; `metrics`, if it takes it, are the torchmetrics
    objects of the config's `task.metrics`, by name.
    """

    num_outputs: int

    def __init__(self, metrics: Mapping[str, Metric] | None = None) -> None:
        super().__init__()
        self._more_metrics = dict(metrics or {})
        for name, metric in self._more_metrics.items():
            if not isinstance(metric, Metric):
                kind = metric if isinstance(metric, (int, float, str)) else type(metric).__name__
                raise InputError(f"task.metrics.{name}={kind}: a torchmetrics class is needed")

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch, a scalar: the mean over its examples."""

    @abstractmethod
    def own_metrics(self) -> Metric:
        """A fresh metric of `update(outputs, targets)` whose `compute()` is a dict of numbers, by name.

        Among them is what the objective of the config minimises: `error`, unless it says otherwise. `loss` should be
        `self.loss` over all examples.
        """

    def predict(self, outputs: Tensor) -> Tensor:
        """The model's outputs in the units of the targets, such as probabilities; the outputs as they are by default.

        The metrics of the config judge these, and `load_run(…).model()` returns them.
        """
        return outputs

    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        """(target, prediction, score) of each example, to look at: a row each of `predictions.csv`.

        By default the numbers of both, and their mean distance where they have the same shape.
        """
        predictions, targets = self.predict(outputs).float().cpu(), targets.cpu()
        if predictions.shape == targets.shape:
            scores = (predictions - targets).abs().reshape(len(targets), -1).mean(1)
        else:
            scores = torch.full((len(targets),), float("nan"))
        rows = zip(targets.tolist(), predictions.tolist(), scores.numpy(), strict=True)
        return [(_numbers(target), _numbers(prediction), score) for target, prediction, score in rows]

    def chance(self, targets: Tensor) -> dict[str, float]:
        """What the best constant prediction, learnt from the training split, gets on `targets`, by metric (A10).

        Empty by default: nothing is said of chance then.
        """
        return {}

    def metrics(self) -> TaskMetrics:
        """Fresh metrics of one evaluation, those of the config included."""
        return TaskMetrics(self.own_metrics(), {n: m.clone() for n, m in self._more_metrics.items()}, self.predict)


class TaskMetrics(nn.Module):
    """The metrics of one evaluation, exact over batches and ranks.

    The task's own see the model's outputs, those of the config what `predict` makes of them: torchmetrics compares
    numbers with targets, which for a regression are in other units than the outputs.
    """

    def __init__(self, own: Metric, more: Mapping[str, Metric], predict: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._own = own
        self._more = MetricCollection(dict(more))
        self._predict = predict

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in a batch, from whichever device it is on."""
        device = self._own.device
        self._own.update(outputs.to(device), targets.to(device))
        if len(self._more):
            self._more.update(self._predict(outputs).to(device), targets.to(device))

    def compute(self) -> dict[str, Any]:
        """The value of each, by name, of everything that was seen on all ranks.

        Raises:
            InputError: the config gives a metric the name of one of the task's own.
        """
        own: dict[str, Any] = self._own.compute()
        more: dict[str, Any] = self._more.compute() if len(self._more) else {}
        if taken := sorted(own.keys() & more.keys()):
            raise InputError(f"task.metrics.{taken[0]}: the task has a metric of this name; give yours another")
        return own | more


def at_least_float32(outputs: Tensor) -> Tensor:
    """What was computed in bfloat16 as float32, before it is turned into predictions; float64 stays."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


def _numbers(values: Any) -> str:
    """`1.5 2`, of a number or a nested list of them."""
    if isinstance(values, list):
        return " ".join(map(_numbers, values))
    return f"{values:.6g}"
