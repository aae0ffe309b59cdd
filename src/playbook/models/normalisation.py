"""Which normalisation a family uses, decided once by three `model.*` keys and built per layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from playbook.models.ghost_batch_norm import GhostBatchNorm

Norm = Literal["none", "batch", "ghost_batch", "layer", "group"]


@dataclass(frozen=True)
class Normalisation:
    """Builds the norm of one layer: `Normalisation("layer")(num_features)`.

    `batch` is torch's own BatchNorm, with the statistics of the whole batch on this device. `ghost_batch` takes them
    over about `batch_size` examples whatever the batch is (`A9`, `D5`). `layer` normalises one example at a time: over
    its features, or for images over its channels and positions together, which is LayerNorm as Ba et al. (2016) define
    it and GroupNorm with one group (Wu and He 2018); the variant over channels alone would have to move the channel
    axis twice a layer. `group` does the same in `groups` groups of channels.

    Raises `ValueError` when a layer's features cannot be cut into `groups` equal groups.
    """

    kind: Norm
    batch_size: int = 64
    groups: int = 8
    images: bool = False

    @property
    def has_shift(self) -> bool:
        """Whether the norm adds a learnt shift, which makes the bias of the maps around it redundant."""
        return self.kind != "none"

    def __call__(self, num_features: int) -> nn.Module:
        """A norm for inputs (N, num_features), or (N, num_features, H, W) where `images`."""
        match self.kind:
            case "none":
                return nn.Identity()
            case "batch":
                return nn.BatchNorm2d(num_features) if self.images else nn.BatchNorm1d(num_features)
            case "ghost_batch":
                return GhostBatchNorm(num_features, norm_batch_size=self.batch_size)
            case "layer":
                return nn.GroupNorm(1, num_features) if self.images else nn.LayerNorm(num_features)
            case "group":
                return nn.GroupNorm(self._checked_groups(num_features), num_features)

    def _checked_groups(self, num_features: int) -> int:
        # a single number minus its own mean is 0, whatever the input: such a layer would pass nothing on
        smallest = 1 if self.images else 2
        if num_features % self.groups or num_features // self.groups < smallest:
            raise ValueError(
                f"model.norm_groups={self.groups} cannot cut a layer of {num_features} features into equal groups"
                f" of at least {smallest}: give a divisor of every layer's features"
            )
        return self.groups
