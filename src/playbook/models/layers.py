"""The layers that every family is made of: activations, initialised maps, norms; and the shape that images must have.

torch's own initialisation, uniform with variance 1 / (3·fan_in), shrinks a rectified signal to a sixth at every layer,
so that depth would act as a hidden learning rate. With the scales of `initialised` the signal keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from playbook.models.ghost_batch_norm import GhostBatchNorm
from playbook.models.parametrization import UNGROWN, FanGrowth, grown

Activation = Literal["relu", "gelu", "silu", "tanh"]

_LAYERS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def activation_layer(name: Activation) -> nn.Module:
    """A new elementwise layer. Never in place: the residual stream that it reads is added to later."""
    return _LAYERS[name]()


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def initialised(layer: Layer, activation: Activation | Literal["linear"], growth: FanGrowth = UNGROWN) -> Layer:
    """`layer` with normally distributed weights for its place in the network, and zero biases.

    `relu`, `gelu`, `silu`: variance 2 / fan_in (He et al. 2015). `tanh`, and `linear` for a map that no activation
    belongs to (the output layer, a projection shortcut): variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010).
    A layer that has grown begins with that of its fans before, times what μP makes of the `growth`.
    """
    has_glorots = activation in ("linear", "tanh")
    if has_glorots:
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    if growth != UNGROWN:
        fan_out, fan_in = layer.weight.shape[0], layer.weight[0].numel()
        outputs = fan_out * layer.weight[0, 0].numel() if has_glorots else 0
        before = fan_in / growth.inputs + outputs / growth.outputs
        with torch.no_grad():
            layer.weight.mul_(growth.std * math.sqrt((fan_in + outputs) / before))
    return grown(layer, growth)


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

    def __call__(self, num_features: int, growth: FanGrowth = UNGROWN) -> nn.Module:
        """A norm for inputs (N, num_features), or (N, num_features, H, W) where `images`."""
        return grown(self._made(num_features), growth)

    def _made(self, num_features: int) -> nn.Module:
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


def image_channels(family: str, input_shape: Sequence[int], total_stride: int, stride_keys: str) -> int:
    """The number of channels of an `input_shape` (C, H, W) that survives being strided down by `total_stride`.

    Raises `ValueError` for other shapes, and for images with fewer pixels a side than `total_stride`: past that,
    strides look at their own padding. `stride_keys` are the config keys to lower, for that message.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3:
        raise ValueError(f"{family} takes images (channels, height, width); the data has {shape}: use model=mlp")
    channels, height, width = shape
    if min(height, width) < total_stride:
        raise ValueError(
            f"{family} with {stride_keys} divides the image's sides by {total_stride}, more than the data's"
            f" {height}x{width} pixels allow: use smaller strides or fewer stages"
        )
    return channels
