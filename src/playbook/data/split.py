"""One split of a data set, ready for a model: `len(split)`, `split.targets`, and `split.batch(indices)`.

Three storages behind one interface: tensors in memory (the fast path), tensors as stored that are normalised on
request (a quarter of the memory for uint8 images), and any map-style `torch.utils.data.Dataset` (larger than memory).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from playbook.data.standardisation import Normalisation
from playbook.errors import InputError

SplitName = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]


class Split(ABC):
    """Examples with their targets.

    `targets` holds all of them: int64 of shape (n,) for classification, float32 of shape (n, k) for regression.
    `input_shape` is the shape of one input, without the batch.
    """

    in_memory: ClassVar[bool] = False

    def __init__(self, targets: Tensor, input_shape: tuple[int, ...]) -> None:
        if (targets.dtype, targets.ndim) not in ((torch.int64, 1), (torch.float32, 2)):
            raise InputError(
                f"targets are {targets.dtype} {tuple(targets.shape)}: "
                f"give int64 (n,) for classification or float32 (n, k) for regression"
            )
        self.targets = targets
        self.input_shape = input_shape

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Inputs (float32, normalised) and targets of the examples at `indices` (int64, on the split's device)."""

    def to(self, device: torch.device | str) -> Split:
        """The split with its tensors on `device`; batches of a split that is not in memory are made on the CPU."""
        return self


class TensorSplit(Split):
    """Model-ready tensors: `inputs` float32 of shape (n, *input_shape), normalised once, on any device."""

    in_memory = True

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        super().__init__(targets, tuple(inputs.shape[1:]))
        assert inputs.dtype == torch.float32
        assert len(inputs) == len(targets)
        self.inputs = inputs

    def batch(self, indices: Tensor) -> Batch:
        return self.inputs.index_select(0, indices), self.targets.index_select(0, indices)

    def to(self, device: torch.device | str) -> TensorSplit:
        inputs = self.inputs.to(device)
        return self if inputs is self.inputs else TensorSplit(inputs, self.targets.to(device))


class StoredSplit(Split):
    """Inputs as they were stored, normalised batch by batch: bit-equal to a `TensorSplit` of the same examples."""

    def __init__(self, inputs: Tensor, targets: Tensor, normalisation: Normalisation) -> None:
        super().__init__(targets, tuple(inputs.shape[1:]))
        assert len(inputs) == len(targets)
        self.inputs = inputs
        self.normalisation = normalisation

    def batch(self, indices: Tensor) -> Batch:
        return self.normalisation(self.inputs.index_select(0, indices)), self.targets.index_select(0, indices)


class DatasetSplit(Split):
    """A map-style data set: `dataset[i]` is a model-ready float32 input, or a tuple that begins with it.

    `targets` are given apart, in the order of the data set, because stratified samples need all of them at once.
    Whatever `dataset[i]` draws from torch's default generator is a function of the step, as `StepLoader` seeds it.
    """

    def __init__(self, dataset: Dataset[Any], targets: Tensor) -> None:
        if len(dataset) != len(targets):  # type: ignore[arg-type]
            raise InputError(f"the data set has {len(dataset)} examples and {len(targets)} targets")  # type: ignore[arg-type]
        first = _input(dataset[0])
        if not isinstance(first, Tensor) or first.dtype != torch.float32:
            kind = first.dtype if isinstance(first, Tensor) else type(first).__name__
            raise InputError(f"the data set gives inputs of {kind}; a float32 torch tensor is needed")
        super().__init__(targets, tuple(first.shape))
        self.dataset = dataset

    def batch(self, indices: Tensor) -> Batch:
        inputs = torch.stack([_input(self.dataset[index]) for index in indices.tolist()])
        return inputs, self.targets.index_select(0, indices)


def _input(item: Any) -> Tensor:
    return item[0] if isinstance(item, tuple | list) else item
