"""A data set that fits in memory: it says what its examples are; standardisation and batches are the template's."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from playbook.data import SplitName, TensorSource


class Spirals(TensorSource):
    """Points of three spirals in the plane: which one is it?"""

    num_classes = 3

    def __init__(self, num_examples: Annotated[int, Field(ge=30)] = 1200, noise: float = 0.1) -> None:
        super().__init__(in_memory=True)
        self.num_examples = num_examples
        self.noise = noise

    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        """Inputs float (n, 2) and targets int64 (n,): half for training, a quarter each for validation and test."""
        generator = torch.Generator().manual_seed(("train", "val", "test").index(split))
        count = self.num_examples // (2 if split == "train" else 4)
        targets = torch.arange(count) % self.num_classes
        radius = torch.rand(count, generator=generator)
        angle = 4 * radius + 2 * math.pi / self.num_classes * targets
        points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        return points + self.noise * torch.randn(count, 2, generator=generator), targets
