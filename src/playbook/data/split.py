"""One split of a data set, ready for a model: `len(split)`, `split.targets`, and `split.batch(indices)`.

Three storages behind one interface: tensors in memory (the fast path), tensors as stored that are standardised on
request (a quarter of the memory for uint8 images), and any map-style `torch.utils.data.Dataset` (larger than memory).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from playbook.data.standardisation import Standardisation
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
        if len(targets) == 0:
            raise InputError("a split without examples: there must be at least one to train or to judge on")
        self.targets = targets
        self.input_shape = input_shape

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Inputs (float32, model-ready) and targets of the examples at `indices` (int64, on the split's device)."""

    def to(self, device: torch.device | str) -> Split:
        """The split with its tensors on `device`; batches of a split that is not in memory are made on the CPU."""
        return self


class TensorSplit(Split):
    """Model-ready tensors: `inputs` float32 of shape (n, *input_shape), standardised once, on any device."""

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
    """Inputs as they were stored, standardised batch by batch: bit-equal to a `TensorSplit` of the same examples."""

    def __init__(self, inputs: Tensor, targets: Tensor, standardisation: Standardisation) -> None:
        super().__init__(targets, tuple(inputs.shape[1:]))
        assert len(inputs) == len(targets)
        self.inputs = inputs
        self.standardisation = standardisation

    def batch(self, indices: Tensor) -> Batch:
        return self.standardisation(self.inputs.index_select(0, indices)), self.targets.index_select(0, indices)


class DatasetSplit(Split):
    """A map-style data set: `dataset[i]` is a model-ready float32 input, or a tuple `(input, target, …)`.

    `targets` are given apart, in the order of the data set, because stratified samples need all of them at once. Where
    the data set gives a target too, that one is trained and judged on (it may be transformed), and is of the same kind:
    a whole number where `targets` are int64 (n,), k floats where they are float32 (n, k). What follows is not used.

    Whatever `dataset[i]` draws from the default generators of torch, NumPy and Python is a function of the step, as the
    loaders seed them.

    Raises:
        InputError: the data set and `targets` differ in length or kind, are empty, or inputs are not float32.
    """

    def __init__(self, dataset: Dataset[Any], targets: Tensor) -> None:
        if len(dataset) != len(targets):  # type: ignore[arg-type]
            raise InputError(f"the data set has {len(dataset)} examples and {len(targets)} targets")  # type: ignore[arg-type]
        first = dataset[0] if len(targets) else torch.zeros(0)
        inputs, target = _parts(first)
        if not isinstance(inputs, Tensor) or inputs.dtype != torch.float32:
            kind = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
            raise InputError(f"the data set gives inputs of {kind}; a float32 torch tensor is needed")
        super().__init__(targets, tuple(inputs.shape))
        self.dataset = dataset
        if target is not None:
            self._target(target)

    def batch(self, indices: Tensor) -> Batch:
        inputs, targets = zip(*(_parts(self.dataset[index]) for index in indices.tolist()), strict=True)
        if targets[0] is None:
            return torch.stack(inputs), self.targets.index_select(0, indices)
        return torch.stack(inputs), torch.stack([self._target(target) for target in targets])

    def _target(self, target: Any) -> Tensor:
        """The target that the data set gives, as one row of `targets`."""
        try:
            given = torch.as_tensor(target)
        except (TypeError, ValueError, RuntimeError):
            kind = type(target).__name__
        else:
            row = self.targets[0]
            whole = not (given.is_floating_point() or given.is_complex())
            if whole is not row.is_floating_point() and given.numel() == row.numel() and given.ndim <= row.ndim:
                return given.to(row.dtype).reshape(row.shape)
            kind = f"{str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
        raise InputError(
            f"the data set gives a target (the second of an item) of {kind}, and targets are"
            f" {str(self.targets.dtype).removeprefix('torch.')} {tuple(self.targets.shape)}: give one row of these, or"
            " the input alone"
        )


def _parts(item: Any) -> tuple[Any, Any]:
    """The input of an item, and its target: None where there is none."""
    if not isinstance(item, tuple | list):
        return item, None
    return item[0], item[1] if len(item) > 1 else None
