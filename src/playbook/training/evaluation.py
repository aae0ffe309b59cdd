"""Exact evaluation: every example of a split counts once, whatever the batch size and the number of ranks (D2, D6)."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning.plugins.precision.precision import Precision
from torch import nn

from playbook.batch import Batch, Tree
from playbook.data import PassLoader
from playbook.tasks import Task
from playbook.training.example_values import ExampleValues

MOST_ERRORS = 3
"""Standard errors of a difference that chance does not explain: it would once in four hundred trials."""

TRAINING_METRICS = {"error": "train/error", "loss": "train/eval_loss"}
"""What of a task's metrics is recorded of the training sample. `train/loss` is another: that of the training steps."""


@torch.no_grad()
def evaluate(
    model: nn.Module,
    task: Task,
    loader: PassLoader,
    *,
    precision: Precision,
    objective: str | None = None,
    examples: ExampleValues | None = None,
) -> dict[str, float]:
    """The metrics of `task` over the examples of `loader`, with the model in evaluation mode.

    The loaders of several ranks hold different batches; their sums are added, so that each rank returns the metrics
    of all examples. `precision` is the run's arithmetic. The model's mode is left as it was. The standard error of the
    metric `objective` is `<objective>_se`, where the task knows the noise of one example; then `examples` collects what
    each of them had to say about it.
    """
    # Sums are in float64, which Apple's GPUs do not have.
    judge = torch.device("cpu") if loader.device.type == "mps" else loader.device
    metrics = task.metrics(objective).to(judge)
    if examples is not None:
        examples.begin(judge)
    with evaluating(model):
        for begin, batch in zip(loader.begins, loader, strict=True):
            with precision.forward_context():
                outputs = task.outputs(model, precision.convert_input(batch.inputs))
            said = metrics.update(outputs, task.targets(batch))
            if examples is not None and said is not None:
                examples.add(begin, *said)
    return flat_metrics(metrics.compute())


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


def metric_names(task: Task, outputs: Tree, batch: Batch) -> list[str]:
    """The names that `evaluate` would return, found by metrics of one small batch.

    What a metric has to say of so few examples, that a class is missing, is said of none that is recorded.
    """
    metrics = task.metrics()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics.update(outputs, task.targets(batch))
        return list(flat_metrics(metrics.compute()))


def warn_of_the_sample(metric: str, metrics: Mapping[str, float], share: float) -> None:
    """Say it where `metric` differs by more than chance explains between the validation sample and the split (D2).

    `share` is that of the split which is in the sample: the error of a sample without replacement is as much smaller.
    """
    name = metric.removeprefix("val/")
    se, whole = metrics.get(f"val/{name}_se"), metrics[f"val_full/{name}"]
    if se is not None and abs(metrics[metric] - whole) > MOST_ERRORS * se * math.sqrt(1 - share):
        print(
            f"warning: {metric} is {metrics[metric]:.4g} on the sample of eval_examples and {whole:.4g} on the whole"
            f" split, more than chance explains (a standard error is {se:.2g}): the sample misleads (D2); take a"
            " larger one",
            file=sys.stderr,
        )


def flat_metrics(computed: Mapping[str, Any]) -> dict[str, float]:
    """Plain floats; a tensor of many becomes one each."""
    flat: dict[str, float] = {}
    for name, value in computed.items():
        values = value.tolist() if isinstance(value, torch.Tensor) else value
        if isinstance(values, list):
            flat |= flat_metrics({f"{name}/{index}": item for index, item in enumerate(values)})
        else:
            flat[name] = float(values)
    return flat
