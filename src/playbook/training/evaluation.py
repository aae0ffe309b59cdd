"""Exact evaluation: every example of a split counts once, whatever the batch size and the number of ranks (D2, D6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.plugins.precision.precision import Precision
from torch import nn

from playbook.data import PassLoader
from playbook.tasks import Task

EVAL_BATCH_SIZE = 1024
"""Evaluation needs no gradients, so its batch can be large; it is at least the training batch (D2)."""

TRAINING_METRICS = {"error": "train/error", "loss": "train/eval_loss"}
"""What of a task's metrics is recorded of the training sample. `train/loss` is another: that of the training steps."""


@torch.no_grad()
def evaluate(model: nn.Module, task: Task, loader: PassLoader, *, precision: Precision) -> dict[str, float]:
    """The metrics of `task` over the examples of `loader`, with the model in evaluation mode.

    The loaders of several ranks hold different batches; their sums are added, so that each rank returns the metrics
    of all examples. `precision` is the run's arithmetic. The model's mode is left as it was.
    """
    # Sums are in float64, which Apple's GPUs do not have.
    judge = torch.device("cpu") if loader.device.type == "mps" else loader.device
    metrics = task.metrics().to(judge)
    with evaluating(model):
        for inputs, targets in loader:
            with precision.forward_context():
                outputs = model(precision.convert_input(inputs))
            metrics.update(outputs, targets)
    return _flat(metrics.compute())


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within; afterwards each module is in the mode that it was in, a frozen batch norm too."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def metric_names(task: Task, split_targets: torch.Tensor) -> list[str]:
    """The names that `evaluate` would return, found by a metric of one made-up prediction."""
    metrics = task.metrics()
    targets = split_targets[:2].cpu()
    metrics.update(torch.randn(len(targets), task.num_outputs, generator=torch.Generator().manual_seed(0)), targets)
    return list(_flat(metrics.compute()))


def _flat(computed: Mapping[str, Any]) -> dict[str, float]:
    """Plain floats; a tensor of many becomes one each."""
    flat: dict[str, float] = {}
    for name, value in computed.items():
        values = value.tolist() if isinstance(value, torch.Tensor) else value
        if isinstance(values, list):
            flat |= _flat({f"{name}/{index}": item for index, item in enumerate(values)})
        else:
            flat[name] = float(values)
    return flat
