"""Augmentation of a batch of images: random crop with padding and horizontal flip.

What is random is drawn apart from what is done with it. `draw` fills a small integer tensor from a CPU generator that
the caller seeds with the step; applying it is index arithmetic on whatever device holds the batch, without waiting for
that device. So the same step gives the same images in memory, from worker processes, on a GPU and on any number of
ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from playbook.batch import Tree


class Augmentation(Protocol):
    """What `StepLoader` asks of an augmentation."""

    def draw(self, num_examples: int, generator: torch.Generator) -> Tensor:
        """The random choices for a batch, one row an example: shape (num_examples, …), on the CPU."""

    def __call__(self, inputs: Tree, draws: Tensor) -> Tree:
        """`inputs` changed as `draws` (on the same device) says."""


@dataclass(frozen=True)
class CropFlip:
    """Pad by `padding` pixels on each side, crop at a random place, flip left to right with probability ½.

    The usual augmentation of small natural images (He et al. 2016, section 4.2). It comes after normalisation, so the
    zeros of the padding are the mean colour of the training split.
    """

    padding: int
    flip: bool

    def draw(self, num_examples: int, generator: torch.Generator) -> Tensor:
        """Int64 of shape (num_examples, 3): the crop's first row and first column in the padded image, and flip or not.

        Both are always drawn, so that switching one of them off leaves the other's draws as they were.
        """
        offsets = torch.randint(2 * self.padding + 1, (num_examples, 2), generator=generator)
        flips = torch.randint(2, (num_examples, 1), generator=generator) * self.flip
        return torch.cat([offsets, flips], dim=1)

    def __call__(self, inputs: Tensor, draws: Tensor) -> Tensor:
        """Images (n, channels, height, width) in, the same shape and values out."""
        n, channels, height, width = inputs.shape
        padded = F.pad(inputs, (self.padding,) * 4)
        row, column, flip = draws[:, :, None].unbind(1)  # (n, 1) each
        rows = row + torch.arange(height, device=inputs.device)
        across = torch.arange(width, device=inputs.device)
        columns = column + torch.where(flip == 1, width - 1 - across, across)
        pixels = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]  # (n, height, width), into flat images
        flat = pixels.reshape(n, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, flat).reshape(inputs.shape)
