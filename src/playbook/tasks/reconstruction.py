"""The inputs themselves, from inputs of which the model keeps less: an autoencoder, for data without labels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from playbook.batch import Batch
from playbook.tasks.base import Task, at_least_float32


class Reconstruction(Task):
    """Outputs are to equal the inputs, float32 (n, …): mean squared error, of any shape with as many numbers.

    Inputs are standardised, so that an `error` (root mean squared) of 1 is that of always giving the mean.
    """

    def __init__(self, input_shape: Any, metrics: dict[str, Any] | None = None) -> None:
        super().__init__(metrics)
        self.num_outputs = torch.Size(input_shape).numel()

    def targets(self, batch: Batch) -> Tensor:
        """The inputs, flat: (n, numbers)."""
        flat: Tensor = batch.inputs.flatten(1)
        return flat

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def predict(self, outputs: Tensor) -> Tensor:
        return at_least_float32(outputs)

    def own_metrics(self) -> Metric:
        return ReconstructionMetrics()

    def example_values(self, metric: str, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The mean squared error of each example."""
        return (outputs.double() - targets.double()).square().mean(1) if metric in ("error", "loss") else None

    def standard_error(self, metric: str, mean: float, se: float) -> float:
        """`error` is the root of the mean."""
        return se / (2 * max(mean, 1e-300) ** 0.5) if metric == "error" else se

    def chance_over(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Of the training mean, which is 0."""
        metric = ReconstructionMetrics()
        for batch in batches:
            targets = self.targets(batch).cpu()
            metric.update(torch.zeros_like(targets), targets)
        return metric.compute()


class ReconstructionMetrics(Metric):
    """`error` (root mean squared) and `loss` (mean squared), over examples and numbers.

    `r2` is the share of the inputs' squares that is explained: 0 is that of always giving the training mean.
    """

    full_state_update = False
    squares: Tensor
    total_squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total_squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs and targets (n, numbers)."""
        targets = targets.double()
        self.squares += (outputs.double() - targets).square().sum()
        self.total_squares += targets.square().sum()
        self.count += targets.numel()

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        loss = self.squares.item() / self.count.item()
        return {"error": loss**0.5, "loss": loss, "r2": 1 - (self.squares / self.total_squares).item()}
