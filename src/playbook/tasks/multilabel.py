"""Several labels, each there or not: binary cross-entropy, and the share of labels that are wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from playbook.batch import Batch
from playbook.errors import InputError
from playbook.tasks.base import Task, at_least_float32


class Multilabel(Task):
    """k labels, each there or not: targets (n, k) of zeros and ones, outputs (n, k) logits.

    `error` is the share of labels that are wrong, with a label taken to be there where its probability is above ½.
    """

    perfect_error = 0.0
    num_outputs: int
    counts: Tensor
    examples: Tensor

    def __init__(self, train_targets: Tensor | None, metrics: dict[str, Any] | None = None) -> None:
        super().__init__(metrics)
        if train_targets is None or train_targets.ndim != 2:
            found = "none" if train_targets is None else tuple(train_targets.shape)
            raise InputError(f"task=multilabel: the training targets are {found}; (n, labels) is needed")
        if not ((train_targets == 0) | (train_targets == 1)).all():
            raise InputError("task=multilabel: targets are zeros and ones, a column a label; these have other numbers")
        self.num_outputs = train_targets.shape[1]
        self.register_buffer("counts", train_targets.cpu().long().sum(0))
        self.register_buffer("examples", torch.tensor(len(train_targets)))

    def targets(self, batch: Batch) -> Tensor:
        """Whole numbers, as torchmetrics asks for."""
        targets: Tensor = batch.targets.long()
        return targets

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(outputs, targets.to(outputs.dtype))

    def own_metrics(self) -> Metric:
        return MultilabelMetrics(self.num_outputs)

    def predict(self, outputs: Tensor) -> Tensor:
        """The probability of each label (n, k)."""
        return at_least_float32(outputs).sigmoid()

    def example_values(self, metric: str, outputs: Tensor, targets: Tensor) -> Tensor | None:
        values = _values(outputs, targets)
        return values[metric].mean(1) if metric in values else None

    def chance(self, targets: Tensor) -> dict[str, float]:
        targets, p = targets.cpu().double(), (self.counts.cpu().double() + 1) / (self.examples.item() + 2)
        losses = -targets * p.log() - (1 - targets) * (1 - p).log()
        return {"error": (targets != (p > 0.5)).double().mean().item(), "loss": losses.mean().item()}


class MultilabelMetrics(Metric):
    """`error` and `loss`, means over examples and labels, and `error/<label>`."""

    full_state_update = False
    wrong: Tensor
    loss_sum: Tensor
    examples: Tensor

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.add_state("wrong", torch.zeros(num_labels, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("examples", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs (n, k), targets (n, k) of zeros and ones."""
        values = _values(outputs, targets)
        self.wrong += values["error"].long().sum(0)
        self.loss_sum += values["loss"].sum()
        self.examples += len(targets)

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        errors, count = (self.wrong / self.examples).tolist(), self.examples.item() * len(self.wrong)
        each = {f"error/{label}": error for label, error in enumerate(errors)}
        return {"error": self.wrong.sum().item() / count, "loss": self.loss_sum.item() / count} | each


def _values(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Of each example and label, in float64."""
    losses = F.binary_cross_entropy_with_logits(outputs.double(), targets.double(), reduction="none")
    return {"error": ((outputs > 0) != (targets == 1)).double(), "loss": losses}
