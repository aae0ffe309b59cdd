"""Two splits as one: the validation examples that are trained on too, once everything is decided (B12)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from playbook.batch import Batch, map_tensors
from playbook.data.split import Split, StreamSplit
from playbook.errors import InputError


class JoinedSplit(Split):
    """The examples of one split, then those of another; batches are made by both, and put in the order of the indices.

    Raises:
        InputError: one is a stream, or their inputs are of other shapes.
    """

    def __init__(self, first: Split, second: Split) -> None:
        if isinstance(first, StreamSplit) or isinstance(second, StreamSplit):
            raise InputError("fold_validation=true: training examples without an end cannot be joined with others")
        if first.input_shape != second.input_shape:
            raise InputError(
                f"fold_validation=true: inputs are {first.input_shape} in training and {second.input_shape} in"
                " validation"
            )
        targets = None
        if first.targets is not None and second.targets is not None:
            targets = torch.cat([first.targets, second.targets.to(first.targets.device)])
        super().__init__(targets, first.input_shape, num_examples=len(first) + len(second))
        self._first, self._second = first, second

    @property
    def in_memory(self) -> bool:  # type: ignore[override]
        """Whether both are."""
        return self._first.in_memory and self._second.in_memory

    def batch(self, indices: Tensor) -> Batch:
        size = len(self._first)
        if self.in_memory:  # of both for each place: to look which are needed would wait for the device
            one = self._first.batch(indices.clamp(max=size - 1))
            two = self._second.batch((indices - size).clamp(min=0))
            is_first = indices < size
            return Batch(*(_chosen(is_first, *pair) for pair in zip(one, two, strict=True)))
        is_first = indices < size
        places = is_first.nonzero()[:, 0], (~is_first).nonzero()[:, 0]
        if not len(places[1]):
            return self._first.batch(indices)
        if not len(places[0]):
            return self._second.batch(indices - size)
        parts = self._first.batch(indices[places[0]]), self._second.batch(indices[places[1]] - size)
        order = torch.cat(places).argsort()
        return Batch(*(_in_order(order, *pair) for pair in zip(*parts, strict=True)))

    def to(self, device: torch.device | str) -> Split:
        first, second = self._first.to(device), self._second.to(device)
        return self if first is self._first and second is self._second else JoinedSplit(first, second)


def _chosen(is_first: Tensor, first: Any, second: Any) -> Any:
    def choose(one: Tensor, two: Tensor) -> Tensor:
        return torch.where(is_first.reshape(-1, *[1] * (one.ndim - 1)), one, two)

    return map_tensors(choose, first, second)


def _in_order(order: Tensor, first: Any, second: Any) -> Any:
    return map_tensors(lambda one, two: torch.cat([one, two])[order], first, second)
