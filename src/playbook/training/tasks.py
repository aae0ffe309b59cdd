"""What a model is asked to do: the loss, the metrics that judge it, and what chance would get.

A task is a module, because what it learnt from the training split's targets (class frequencies, their mean and
spread) belongs into the checkpoint beside the weights.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric, MetricCollection

from playbook.errors import InputError

OWN_METRICS = frozenset({"error", "loss", "accuracy", "r2", "own"})
RARE_CLASSES = 20
"""How many classes have their counts logged: all of them up to here, else the rarest."""


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


class Classification(Task):
    """One label out of `num_classes`: cross-entropy, and the share of examples whose label is missed."""

    counts: Tensor

    def __init__(
        self,
        train_targets: Tensor,
        num_classes: int | None,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(metrics)
        if num_classes is None:
            raise InputError("task=classification: the data has real-valued targets; choose task=regression")
        self.num_outputs = num_classes
        self.label_smoothing = label_smoothing
        self.register_buffer("counts", torch.bincount(train_targets.cpu(), minlength=num_classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def own_metrics(self) -> Metric:
        return ClassificationMetrics(self.num_outputs)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(-1)

    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        scores, labels = self.predict(outputs).float().cpu().max(-1)
        rows = zip(targets.tolist(), labels.tolist(), scores.numpy(), strict=True)
        return [(str(target), str(label), score) for target, label, score in rows]

    def chance(self, targets: Tensor) -> dict[str, float]:
        frequencies = self.counts.double().cpu()
        frequencies = (frequencies + 1) / (frequencies + 1).sum()  # a class that training never saw is still possible
        targets = targets.cpu()
        missed = (targets != self.counts.cpu().argmax()).double().mean().item()
        return {"error": missed, "accuracy": 1 - missed, "loss": -frequencies.log()[targets].mean().item()}


class Regression(Task):
    """Real-valued targets: mean squared error on standardised targets, root mean squared error in their own units."""

    mean: Tensor
    std: Tensor

    def __init__(self, train_targets: Tensor, num_classes: int | None, metrics: dict[str, Any] | None = None) -> None:
        super().__init__(metrics)
        if num_classes is not None:
            raise InputError(
                "task=regression: the data has class labels; choose task=classification, or data with real-valued"
                " targets such as data=diabetes"
            )
        targets = train_targets.double().cpu()
        std = targets.std(0, correction=0)
        self.num_outputs = targets.shape[1]
        self.register_buffer("mean", targets.mean(0).float())
        self.register_buffer("std", torch.where(std > 0, std, 1.0).float())

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, (targets - self.mean) / self.std)

    def own_metrics(self) -> Metric:
        return RegressionMetrics(self.mean, self.std)

    def predict(self, outputs: Tensor) -> Tensor:
        return outputs * self.std + self.mean

    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        predictions = self.predict(outputs).float().cpu()
        errors = (predictions - targets.cpu()).abs().mean(-1).numpy()
        rows = zip(targets.tolist(), predictions.tolist(), errors, strict=True)
        return [(_numbers(target), _numbers(prediction), error) for target, prediction, error in rows]

    def chance(self, targets: Tensor) -> dict[str, float]:
        residual = (targets.cpu() - self.mean.cpu()).double()
        scaled = residual / self.std.cpu().double()
        return {"error": residual.square().mean().sqrt().item(), "loss": scaled.square().mean().item()}


class ClassificationMetrics(Metric):
    """`error`, `accuracy`, `loss`, and per class `correct/<class>` of `examples/<class>`.

    Counts are integers and the loss is summed over examples in float64, so that neither the size of the batches nor
    the number of ranks changes the result.
    """

    full_state_update = False
    loss_sum: Tensor
    correct: Tensor
    examples: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("correct", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("examples", torch.zeros(num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs (n, classes), targets int64 (n,)."""
        losses = F.cross_entropy(outputs.double(), targets, reduction="none")
        hits = targets[outputs.argmax(-1) == targets]
        self.loss_sum += losses.sum()
        self.correct += torch.bincount(hits, minlength=len(self.correct))
        self.examples += torch.bincount(targets, minlength=len(self.examples))

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        correct, examples = self.correct.tolist(), self.examples.tolist()
        total = sum(examples)
        rare = sorted(range(len(examples)), key=lambda c: examples[c])[:RARE_CLASSES]
        counts = {f"correct/{c}": float(correct[c]) for c in sorted(rare)}
        counts |= {f"examples/{c}": float(examples[c]) for c in sorted(rare)}
        error = 1 - sum(correct) / total
        return {"error": error, "accuracy": 1 - error, "loss": self.loss_sum.item() / total} | counts


class RegressionMetrics(Metric):
    """`error` (root mean squared, in the targets' units), `loss` (mean squared, standardised) and `r2`."""

    full_state_update = False
    _mean: Tensor
    _std: Tensor
    squares: Tensor
    total: Tensor
    total_squares: Tensor
    examples: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("_mean", mean.cpu().double(), persistent=False)
        self.register_buffer("_std", std.cpu().double(), persistent=False)
        for name in ("squares", "total", "total_squares"):  # of each output, standardised
            self.add_state(name, torch.zeros(len(mean), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("examples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs (n, k), standardised; targets (n, k), in their own units."""
        targets = (targets.double() - self._mean) / self._std
        self.squares += (outputs.double() - targets).square().sum(0)
        self.total += targets.sum(0)
        self.total_squares += targets.square().sum(0)
        self.examples += len(targets)

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        mean_squares = self.squares / self.examples
        variance = self.total_squares / self.examples - (self.total / self.examples).square()
        return {
            "error": (mean_squares * self._std.square()).mean().sqrt().item(),
            "loss": mean_squares.mean().item(),
            "r2": (1 - (mean_squares / variance).mean()).item(),
        }


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)
