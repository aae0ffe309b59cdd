"""One split of a data set, ready for a model: `len(split)`, `split.targets`, and `split.batch(indices)`.

Three storages behind one interface: tensors in memory (the fast path), tensors as stored that are standardised on
request (a quarter of the memory for uint8 images), and any map-style `torch.utils.data.Dataset` (larger than memory).
A training split that has no end is a `StreamSplit`.

Inputs and targets are trees of tensors (`playbook.batch`) of any shape and dtype; what they mean is up to the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NoReturn

import torch
from torch import Tensor
from torch.utils.data import Dataset

from playbook.batch import Batch, Tree, example_shapes, map_tensors, num_examples, select, stack, tensors, to_device
from playbook.errors import InputError

SplitName = Literal["train", "val", "test"]


class Split(ABC):
    """Examples, with their targets where they have some.

    `targets` holds all of them in one tensor, where that can be had: int64 of shape (n,) for classes, float32 of shape
    (n, k) for real values, whatever the task wants else. Samples are stratified by the first two kinds, and the task's
    constructor learns from them. None where there are no labels, or where they only come with the batch.
    `input_shape` is the shape of one input without the batch, or the tree of the shapes of its parts.

    Raises:
        InputError: there are no examples, or targets are float64, which no model is trained on.
    """

    in_memory: ClassVar[bool] = False

    def __init__(self, targets: Tensor | None, input_shape: Tree, *, num_examples: int | None = None) -> None:
        if targets is not None:
            _refuse_double("targets", targets)
            num_examples = len(targets)
        if num_examples is None:
            raise InputError("a split without targets has to say how many examples it has: num_examples=<number>")
        if num_examples == 0:
            raise InputError("a split without examples: there must be at least one to train or to judge on")
        self.targets = targets
        self.input_shape = input_shape
        self._num_examples = num_examples

    def __len__(self) -> int:
        return self._num_examples

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """Inputs (model-ready) and targets of the examples at `indices` (int64, on the split's device)."""

    def to(self, device: torch.device | str) -> Split:
        """The split with its tensors on `device`; batches of a split that is not in memory are made on the CPU."""
        return self


class StreamSplit(Split):
    """Training examples without an end: `batch(indices)` makes example 0, 1, 2, … and has no length.

    Step t trains on the examples [t·B, (t+1)·B), in that order, so that a stream is resumed and shared by ranks as
    exactly as any other split: what it reads or draws has to be a function of the indices. The default generators of
    torch, NumPy and Python are seeded by (seed, step, rank) while a batch is made.
    """

    def __init__(self, input_shape: Tree) -> None:
        super().__init__(None, input_shape, num_examples=1)

    def __len__(self) -> NoReturn:
        raise TypeError("a stream has no length")


class TensorSplit(Split):
    """Model-ready tensors on any device: `inputs` of shape (n, *input_shape), or a tree of such, standardised once.

    Targets that are a tree are those of the batches; `targets` is None then.

    Raises:
        InputError: inputs and targets differ in length, there are none, or inputs are float64.
    """

    in_memory = True

    def __init__(self, inputs: Tree, targets: Tree = None) -> None:
        _refuse_unequal(inputs, targets)
        super().__init__(_one(targets), example_shapes(inputs), num_examples=num_examples(inputs))
        for part in tensors(inputs):
            _refuse_double("inputs", part)
        self.inputs = inputs
        self._targets = targets

    def batch(self, indices: Tensor) -> Batch:
        return Batch(select(self.inputs, indices), select(self._targets, indices))

    def to(self, device: torch.device | str) -> TensorSplit:
        inputs = to_device(self.inputs, device)
        moved = any(new is not old for new, old in zip(tensors(inputs), tensors(self.inputs), strict=True))
        return TensorSplit(inputs, to_device(self._targets, device)) if moved else self


class StoredSplit(Split):
    """Inputs as they were stored, standardised batch by batch: bit-equal to a `TensorSplit` of the same examples."""

    def __init__(self, inputs: Tree, targets: Tree, standardisation: Callable[[Tree], Tree]) -> None:
        _refuse_unequal(inputs, targets)
        super().__init__(_one(targets), example_shapes(inputs), num_examples=num_examples(inputs))
        self.inputs = inputs
        self.standardisation = standardisation
        self._targets = targets

    def batch(self, indices: Tensor) -> Batch:
        return Batch(self.standardisation(select(self.inputs, indices)), select(self._targets, indices))


class DatasetSplit(Split):
    """A map-style data set: `dataset[i]` is a model-ready input, or a tuple `(input, target, …)`; the rest is not used.

    An input is a tensor, or a dict, tuple or list of tensors (a tuple of inputs is the first part of a tuple).

    `targets` are given apart, in the order of the data set, because stratified samples need all of them at once. Where
    the data set gives a target too, that one is trained and judged on (it may be transformed), and is of the same kind:
    a whole number where `targets` are int64 (n,), k floats where they are float32 (n, k). Without `targets`, what the
    data set gives is taken: nothing, a number, an array, or a dict or tuple of such.

    Whatever `dataset[i]` draws from the default generators of torch, NumPy and Python is a function of the step, as the
    loaders seed them.

    Raises:
        InputError: the data set and `targets` differ in length or kind, are empty, or inputs are no tensors or float64.
    """

    def __init__(self, dataset: Dataset[Any], targets: Tensor | None = None) -> None:
        length = len(dataset)  # type: ignore[arg-type]
        if targets is not None and length != len(targets):
            raise InputError(f"the data set has {length} examples and {len(targets)} targets")
        first = dataset[0] if length else torch.zeros(0)
        inputs, target = _parts(first)
        _check_inputs(inputs)
        super().__init__(targets, map_tensors(lambda part: tuple(part.shape), inputs), num_examples=length)
        self.dataset = dataset
        if target is not None:
            self._target(target)

    def batch(self, indices: Tensor) -> Batch:
        inputs, targets = zip(*(_parts(self.dataset[index]) for index in indices.tolist()), strict=True)
        if targets[0] is None:
            return Batch(stack(inputs), select(self.targets, indices))
        return Batch(stack(inputs), stack([self._target(target) for target in targets]))

    def _target(self, target: Any) -> Tree:
        """The target that the data set gives, as one row of `targets` where there are some."""
        if self.targets is None and isinstance(target, dict):
            return {name: self._target(part) for name, part in target.items()}
        if self.targets is None and isinstance(target, tuple):
            return tuple(map(self._target, target))
        try:
            given = torch.as_tensor(target)
        except (TypeError, ValueError, RuntimeError):
            kind = type(target).__name__
        else:
            if self.targets is None:
                return given.float() if given.dtype == torch.float64 else given
            row = self.targets[0]
            whole = not (given.is_floating_point() or given.is_complex())
            if whole is not row.is_floating_point() and given.numel() == row.numel() and given.ndim <= row.ndim:
                return given.to(row.dtype).reshape(row.shape)
            kind = f"{str(given.dtype).removeprefix('torch.')} {tuple(given.shape)}"
        if self.targets is None:
            raise InputError(f"the data set gives a target (the second of an item) of {kind}; numbers are needed")
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


def _check_inputs(inputs: Any) -> None:
    parts = inputs.values() if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple | list) else ()
    for part in parts:
        _check_inputs(part)
    if not parts and (not isinstance(inputs, Tensor) or inputs.dtype == torch.float64):
        kind = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
        raise InputError(
            f"the data set gives inputs of {kind}; a float32 torch tensor is needed, or one of whole numbers, or a"
            " dict, tuple or list of such"
        )


def _one(targets: Tree) -> Tensor | None:
    return targets if isinstance(targets, Tensor) else None


def _refuse_unequal(inputs: Tree, targets: Tree) -> None:
    lengths = sorted({len(part) for part in tensors((inputs, targets))})
    if len(lengths) > 1:
        raise InputError(f"inputs and targets have {' and '.join(map(str, lengths))} rows; as many are needed")


def _refuse_double(name: str, tensor: Tensor) -> None:
    if tensor.dtype == torch.float64:
        raise InputError(f"{name} are float64 {tuple(tensor.shape)}: give float32, which is what models are trained on")
