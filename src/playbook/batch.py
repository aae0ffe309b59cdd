"""A batch, and the trees of tensors that it is made of: a tensor, or a dict, tuple or list of trees, or None.

Every tensor of a batch has the examples along its first dimension. The dtypes are the data's own: images and tables are
float32, token ids integers, masks booleans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

Tree: TypeAlias = Any
"""A tensor, or a dict, tuple or list of trees, or None."""


class Batch(NamedTuple):
    """What a model is given, and what its outputs are compared with: None where the data has no labels."""

    inputs: Tree
    targets: Tree


def map_tensors(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """The tree with `function(tensor, …)` in the place of each tensor; the rest is what `others` have in its place."""
    if isinstance(tree, Tensor):
        return function(tree, *others)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, part, *(other[name] for other in others)) for name, part in tree.items()}
    if isinstance(tree, tuple | list):
        parts = [map_tensors(function, *each) for each in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def tensors(tree: Tree) -> Iterator[Tensor]:
    """Its tensors, from left to right."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for part in tree.values():
            yield from tensors(part)
    elif isinstance(tree, tuple | list):
        for part in tree:
            yield from tensors(part)


def num_examples(tree: Tree) -> int:
    """The length of the first dimension of its first tensor."""
    return len(next(tensors(tree)))


def to_device(tree: Tree, device: torch.device | str, *, non_blocking: bool = False) -> Tree:
    """The tree with its tensors on `device`."""
    return map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking), tree)


def select(tree: Tree, indices: Tensor) -> Tree:
    """The examples at `indices`, which are on the tree's device."""
    return map_tensors(lambda tensor: tensor.index_select(0, indices), tree)


def stack(examples: Sequence[Tree]) -> Tree:
    """Examples of one structure as one tree, with them along a new first dimension."""
    return map_tensors(lambda *tensors: torch.stack(tensors), *examples)


def split(tree: Tree, size: int) -> list[Tree]:
    """The tree in pieces of `size` examples; the last may have fewer."""
    return [map_tensors(lambda t: t[start : start + size], tree) for start in range(0, num_examples(tree), size)]  # noqa: B023


def shapes(tree: Tree) -> Tree:
    """The tree with the shape of each tensor, a tuple, in its place: `(2, 1, 8, 8)`, or `{"image": (2, 1, 8, 8)}`."""
    return map_tensors(lambda tensor: tuple(tensor.shape), tree)


def example_shapes(tree: Tree) -> Tree:
    """As `shapes`, of one example: without the first dimension."""
    return map_tensors(lambda tensor: tuple(tensor.shape[1:]), tree)
