"""Real-valued targets: mean squared error on standardised targets, root mean squared error in their own units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from playbook.errors import InputError
from playbook.tasks.base import Task, at_least_float32


class Regression(Task):
    """Real-valued targets: mean squared error on standardised targets, root mean squared error in their own units."""

    mean: Tensor
    std: Tensor

    def __init__(
        self, train_targets: Tensor | None, num_classes: int | None, metrics: dict[str, Any] | None = None
    ) -> None:
        super().__init__(metrics)
        if num_classes is not None:
            raise InputError(
                "task=regression: the data has class labels; choose task=classification, or data with real-valued"
                " targets such as data=diabetes"
            )
        if train_targets is None or not train_targets.is_floating_point() or train_targets.ndim != 2:
            found = "none" if train_targets is None else f"{train_targets.dtype} {tuple(train_targets.shape)}"
            raise InputError(f"task=regression: the training targets are {found}; float32 (n, k) is needed")
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
        """Values (n, k) in the units of the targets."""
        return at_least_float32(outputs) * self.std + self.mean

    def example_values(self, metric: str, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """The squared error of each example: standardised for `loss`, in the targets' units for `error`."""
        if metric not in ("error", "loss"):
            return None
        mean, std = (values.to(outputs.device).double() for values in (self.mean, self.std))
        squares = (outputs.double() - (targets.double() - mean) / std).square()
        return (squares * std.square() if metric == "error" else squares).mean(1)

    def standard_error(self, metric: str, mean: float, se: float) -> float:
        """`error` is the root of the mean."""
        return se / (2 * max(mean, 1e-300) ** 0.5) if metric == "error" else se

    def chance(self, targets: Tensor) -> dict[str, float]:
        residual = (targets.cpu() - self.mean.cpu()).double()
        scaled = residual / self.std.cpu().double()
        return {"error": residual.square().mean().sqrt().item(), "loss": scaled.square().mean().item()}


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
