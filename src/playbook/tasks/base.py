"""What a model is asked to do: the loss, the metrics that judge it, and what chance would get.

A task is a module, because what it learnt from the training split's targets (class frequencies, their mean and
spread) belongs into the checkpoint beside the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

OWN_METRICS = frozenset({"error", "loss", "accuracy", "r2", "own"})


class Task(nn.Module):
    """Subclass it for a new kind of problem; an option in `conf/task/` names the subclass.

    `num_outputs` is how many numbers the model gives for an example. The constructor is supplied with
    `train_targets` (all targets of the training split) and `num_classes` (None for real-valued targets).
    """

    num_outputs: int

    def __init__(self, metrics: Mapping[str, Metric] | None) -> None:
        super().__init__()
        self._more_metrics = dict(metrics or {})
        for name, metric in self._more_metrics.items():
            if not isinstance(metric, Metric):
                kind = metric if isinstance(metric, (int, float, str)) else type(metric).__name__
                raise ValueError(f"task.metrics.{name}={kind}: a torchmetrics class is needed")
        if taken := OWN_METRICS.intersection(self._more_metrics):
            name = min(taken)
            raise ValueError(f"task.metrics.{name}: the task has a metric of this name; give yours another")

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The training loss of a batch, a scalar: the mean over its examples."""

    @abstractmethod
    def own_metrics(self) -> Metric:
        """A fresh metric whose `compute()` is a dict with `error`, `loss` and whatever else the task logs."""

    @abstractmethod
    def predict(self, outputs: Tensor) -> Tensor:
        """The model's outputs in the units of the targets."""

    @abstractmethod
    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        """(target, prediction, score) of each example, to look at."""

    @abstractmethod
    def chance(self, targets: Tensor) -> dict[str, float]:
        """What the best constant prediction, learnt from the training split, gets on `targets`, by metric."""

    def metrics(self) -> MetricCollection:
        """Fresh metrics, with those of the config: update with `(outputs, targets)`; exact over batches and ranks."""
        return MetricCollection({"own": self.own_metrics(), **{n: m.clone() for n, m in self._more_metrics.items()}})
