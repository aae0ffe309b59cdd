"""One label out of several, of an example or of each of its positions (segmentation): cross-entropy, and the share of
labels that are missed.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from playbook.batch import Batch
from playbook.errors import InputError
from playbook.tasks.base import Task, at_least_float32, refuse_other_shape

RARE_CLASSES = 20
"""How many classes have their counts logged: all of them up to here, else the rarest."""


class Classification(Task):
    """One label out of `num_classes`: cross-entropy, and the share of examples whose label is missed.

    Outputs are (n, classes) and targets whole numbers (n,); or (n, classes, …) and (n, …), a label a position.
    """

    perfect_error = 0.0
    num_outputs: int
    counts: Tensor

    def __init__(
        self,
        train_targets: Tensor | None,
        num_classes: int | None,
        label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(metrics)
        if num_classes is None:
            raise InputError(_other_task(train_targets))
        self.num_outputs = num_classes
        self.label_smoothing = label_smoothing
        labels = torch.zeros(0, dtype=torch.int64) if train_targets is None else train_targets.flatten().cpu()
        if labels.is_floating_point():
            raise InputError(f"task=classification: targets are {labels.dtype}, and classes are whole numbers (n,)")
        self.register_buffer("counts", torch.bincount(labels, minlength=num_classes))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=self.label_smoothing)

    def own_metrics(self) -> Metric:
        return ClassificationMetrics(self.num_outputs)

    def predict(self, outputs: Tensor) -> Tensor:
        """Class probabilities (n, classes, …)."""
        return at_least_float32(outputs).softmax(1)

    def check(self, outputs: Any, batch: Batch) -> None:
        labels = self.targets(batch)
        needed = (len(labels), self.num_outputs, *labels.shape[1:])
        refuse_other_shape(outputs, batch, needed, "(examples, num_outputs)")

    def example_values(self, metric: str, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """Of `error` and `accuracy` missed or not, of `loss` the loss, of each example: the mean over its positions."""
        if metric == "loss":
            each = F.cross_entropy(outputs.double(), targets, reduction="none")
        elif metric in ("error", "accuracy"):
            each = (outputs.argmax(1) == targets) == (metric == "accuracy")
        else:
            return None
        return each if each.ndim == 1 else each.double().flatten(1).mean(1)

    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        scores, labels = self.predict(outputs).float().cpu().max(1)
        if labels.ndim > 1:
            return super().describe(labels, targets)
        rows = zip(targets.tolist(), labels.tolist(), scores.numpy(), strict=True)
        return [(str(target), str(label), score) for target, label, score in rows]

    def chance(self, targets: Tensor) -> dict[str, float]:
        if not self.counts.any():  # labels come only with the batches: nothing is known of them
            return {}
        frequencies = self.counts.double().cpu()
        frequencies = (frequencies + 1) / (frequencies + 1).sum()  # a class that training never saw is still possible
        targets = targets.cpu()
        missed = (targets != self.counts.cpu().argmax()).double().mean().item()
        return {"error": missed, "accuracy": 1 - missed, "loss": -frequencies.log()[targets].mean().item()}


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
        """Outputs (n, classes, …), targets int64 (n, …)."""
        losses = F.cross_entropy(outputs.double(), targets, reduction="none")
        hits = targets[outputs.argmax(1) == targets]
        self.loss_sum += losses.sum()
        self.correct += torch.bincount(hits, minlength=len(self.correct))
        self.examples += torch.bincount(targets.flatten(), minlength=len(self.examples))

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        correct, examples = self.correct.tolist(), self.examples.tolist()
        total = sum(examples)
        rare = sorted(range(len(examples)), key=lambda c: examples[c])[:RARE_CLASSES]
        counts = {f"correct/{c}": float(correct[c]) for c in sorted(rare)}
        counts |= {f"examples/{c}": float(examples[c]) for c in sorted(rare)}
        error = 1 - sum(correct) / total
        return {"error": error, "accuracy": 1 - error, "loss": self.loss_sum.item() / total} | counts


def _other_task(train_targets: Tensor | None) -> str:
    if train_targets is not None and not train_targets.is_floating_point():
        return "task=classification: the data do not say how many classes there are: num_classes of the source"
    return "task=classification: the data has real-valued targets; choose task=regression"
