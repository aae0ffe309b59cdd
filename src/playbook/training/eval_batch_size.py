"""How many examples an evaluation takes at a time: as many as fit into a fixed budget, found by one forward pass.

The budget is the same on every machine and the size a power of two, so that the numbers of an evaluation, whose last
bits may depend on how many examples share a matrix product, do not depend on where it runs.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from playbook.batch import Batch, num_examples, tensors
from playbook.tasks import Task

BUDGET = 1 << 30
"""Bytes that the values between inputs and metrics may take: 1 GiB."""
LARGEST = 1024
"""More gives no speed (D2); the training batch, where that is larger, as it fits with its gradients."""


def eval_batch_size(model: nn.Module, task: Task, batch: Batch, training_batch_size: int) -> int:
    """For a model in evaluation mode, from a small batch of validation examples.

    It does not depend on the number of ranks, so that each example is in one batch with the same others (D6).
    """
    largest = max(LARGEST, training_batch_size)
    fitting = max(1, BUDGET * num_examples(batch.inputs) // max(1, peak_bytes(model, task, batch)))
    return largest if fitting >= largest else 1 << (fitting.bit_length() - 1)


@torch.no_grad()
def peak_bytes(model: nn.Module, task: Task, batch: Batch) -> int:
    """The most bytes that are alive at a time while a batch is judged, weights and inputs left out."""
    metrics = task.metrics()
    with _LiveBytes([*model.parameters(), *model.buffers(), *task.buffers(), *tensors(batch)]) as live:
        metrics.update(task.outputs(model, batch.inputs), task.targets(batch))
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of what operators return, for as long as a tensor holds them."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._holders: Counter[int] = Counter()  # tensors that hold a storage: a result and its views

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tensors(result):
            storage = tensor.untyped_storage()
            place, size = storage.data_ptr(), storage.nbytes()
            if place not in self._known:
                self._now += 0 if self._holders[place] else size
                self._holders[place] += 1
                self.peak = max(self.peak, self._now)
                weakref.finalize(tensor, self._let_go, place, size)
        return result

    def _let_go(self, place: int, size: int) -> None:
        self._holders[place] -= 1
        self._now -= 0 if self._holders[place] else size
