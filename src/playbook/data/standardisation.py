"""Inputs with mean 0 and standard deviation 1, by the statistics of the training split.

Per channel for images, per feature for tables. The validation and test splits are standardised with the *training*
split's numbers: what a model sees may not depend on the examples that judge it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from playbook.batch import Tree, map_tensors

_CHUNK = 4096  # examples converted to float64 at a time: 25 MB of 28×28 images


@dataclass(frozen=True)
class Standardisation:
    """`(x − mean) / std`, with `mean` and `std` of shape (features,) for tables and (channels, 1, …) for images."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, examples: Tensor) -> Standardisation:
        """The statistics of `examples`, of shape (n, features) or (n, channels, …), summed in float64.

        A constant feature keeps its scale (std = 1): it becomes 0 instead of a division by zero.
        """
        dims = [0, *range(2, examples.ndim)]
        count = examples.numel() // examples.shape[1]
        unit = _units(examples, dims)
        chunks = torch.split(examples, _CHUNK)
        mean = torch.stack([(chunk.double() / unit).sum(dims, keepdim=True) for chunk in chunks]).sum(0) / count
        squares = [(chunk.double() / unit - mean).square().sum(dims, keepdim=True) for chunk in chunks]
        std = (torch.stack(squares).sum(0) / count).sqrt()
        # Rounding leaves a constant 0.1 with a std of about 1e-17, so zero means: that of the sums' last digits.
        constant = std <= 1e-12 * mean.abs()
        # As a constant 1e200 is left with that of its own: such a one is divided by about itself.
        mean, std = mean * unit, torch.where(constant, torch.where(unit > 2.0**100, unit, 1.0), std * unit)
        # A float64 column (a timestamp) may need its digits until the mean is gone; the others are exact in float32.
        dtype = torch.float64 if examples.dtype == torch.float64 else torch.float32
        return cls(mean[0].to(dtype), std[0].to(dtype))

    def __call__(self, examples: Tensor) -> Tensor:
        """Float32 of the shape of `examples`: element by element, so a batch gets the same bits as the whole split."""
        return examples.to(self.mean.dtype).sub(self.mean).div_(self.std).float()


@dataclass(frozen=True)
class TreeStandardisation:
    """Of inputs of several parts: a `Standardisation` of each that is standardised, None in the place of the others.

    Floats are, and bytes, which are pixels. Whole numbers of other dtypes are ids and stay what they are.
    """

    parts: Tree

    @classmethod
    def of(cls, examples: Tree) -> TreeStandardisation:
        """The statistics of each part."""
        return cls(map_tensors(lambda part: Standardisation.of(part) if is_measured(part) else None, examples))

    def __call__(self, examples: Tree) -> Tree:
        """The tree with float32 in the place of what is standardised."""
        return map_tensors(lambda part, own: part if own is None else own(part), examples, self.parts)


def is_measured(part: Tensor) -> bool:
    """Whether it holds measurements, which are standardised, and not ids."""
    return part.is_floating_point() or part.dtype == torch.uint8


def _units(examples: Tensor, dims: list[int]) -> Tensor:
    """A power of two of about the largest number of each feature or channel: squares of 1e200 are no float64.

    Dividing by it changes no digit, so that the statistics of ordinary numbers are the same with and without.
    """
    if examples.dtype != torch.float64:
        return torch.ones((), dtype=torch.float64)
    _, exponents = np.frexp(examples.abs().amax(dims, keepdim=True).numpy())
    return torch.from_numpy(np.ldexp(1.0, exponents.clip(-1000, 1000)))
