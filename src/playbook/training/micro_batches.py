"""The loss of a batch whose parts are weighted as they count: micro-batches in memory one at a time, and ranks.

The gradient is that of the whole batch, and so is the loss that is recorded. A task whose loss is a mean over something
else than examples, such as the tokens that are no padding, says how many there are (`Task.weight`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from playbook.batch import Batch, split, tensors
from playbook.tasks import Task
from playbook.training.distributed import Rank


def weighted_loss(task: Task, model: nn.Module, batch: Batch, size: int | None, rank: Rank) -> Tensor:
    """The training loss of a batch, of which this rank has its share, in micro-batches of `size` examples.

    The gradients of all micro-batches but the last are added to the parameters here, so that one graph is alive at a
    time; those of the last are what the backward pass of the result adds. The mean over ranks is the loss of the batch.
    """
    parts = [batch] if size is None else split(batch, size)
    shares = _shares(task, parts, rank)
    done: Tensor | float = 0.0
    for part, share in zip(parts[:-1], shares[:-1], strict=True):
        loss = _times(task.training_loss(model, part), share)
        with torch.autocast(loss.device.type, enabled=False):  # no backward pass belongs there
            loss.backward()  # type: ignore[no-untyped-call]
        done = done + loss.detach()
        del loss
    return _times(task.training_loss(model, parts[-1]), shares[-1]) + done


def _times(loss: Tensor, share: float | Tensor) -> Tensor:
    return loss * (share.to(loss.dtype) if isinstance(share, Tensor) else share)


def _shares(task: Task, parts: list[Batch], rank: Rank) -> Sequence[float | Tensor]:
    """What the mean of each micro-batch counts for in the mean of the batch of all ranks, times the number of ranks."""
    weights, device = [task.weight(part) for part in parts], next(tensors(parts[0])).device
    if type(task).weight is Task.weight:  # ranks have equally many examples
        return [weight / sum(weights) for weight in weights]
    precise = torch.float32 if device.type == "mps" else torch.float64
    each = [torch.as_tensor(weight, dtype=precise, device=device) for weight in weights]
    total = torch.stack(each).sum()
    if rank.world_size > 1:
        distributed.all_reduce(total)
    return [weight * rank.world_size / total for weight in each]


def warn_of_batch_norm(model: nn.Module, size: int) -> None:
    """Say what of a micro-batch is not that of the batch."""
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        _warn(size)


@cache
def _warn(size: int) -> None:
    """Once a process: the trials of a study share it."""
    print(
        f"warning: trainer.micro_batch_size={size}: batch norm takes the statistics of micro-batches, not of the batch"
        " (model.norm=layer or group has none)",
        file=sys.stderr,
    )
