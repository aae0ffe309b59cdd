"""The wide residual network of Zagoruyko and Komodakis (2016), the convolutional family of the playbook's figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from playbook.models.layers import Activation, Norm, Normalisation, activation_layer, image_channels, initialised
from playbook.models.parametrization import UNGROWN, FanGrowth, Parametrization, width_growth
from playbook.models.residual_block import Block, NormPlacement, ResidualInit

_STEM_CHANNELS = 16
_STAGE_CHANNELS = (16, 32, 64)  # times the widening factor


class WideResNet(nn.Module):
    """WRN-`depth`-`width`: a 3x3 stem and three stages of (depth - 4) / 6 blocks; stage i has 16·2^i·`width` channels.

    Takes (N, C, H, W); gives (N, num_outputs). A block's branch is two 3x3 convolutions, each after an activation, with
    a norm and the dropout between them. `depth` counts the convolutions as the paper does, 6n + 4; `width` is the
    widening factor k. `strides` are those of the first block of each stage and `stem_stride` the stem's: changing one
    of them is the playbook's example of an architecture that is unstable at high learning rates (figure `F4`).

    One departure: where the shape changes, the paper's shortcut reads the normalised and activated input; here the
    projection reads x itself, so that every block is s(x) + f(Norm(x)) as rule `E8` has it. The number of parameters is
    the paper's.

    Raises `ValueError` for another depth or number of strides, for data that is not an image, or for images with fewer
    pixels a side than the product of the strides.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        width: PositiveInt,
        depth: PositiveInt,
        strides: Sequence[PositiveInt] = (1, 2, 2),
        stem_stride: PositiveInt = 1,
        activation: Activation = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm: Norm = "batch",
        norm_batch_size: Annotated[int, Field(ge=2)] = 64,
        norm_groups: PositiveInt = 8,
        norm_placement: NormPlacement = "pre",
        residual_init: ResidualInit = "default",
        parametrization: Parametrization = "standard",
        base_width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        blocks_per_stage, remainder = divmod(depth - 4, 6)
        if blocks_per_stage < 1 or remainder:
            nearest = 6 * max(1, round((depth - 4) / 6)) + 4
            raise ValueError(f"model.depth={depth} must be 6n + 4 (10, 16, 22, 28, …): use model.depth={nearest}")
        if len(strides) != len(_STAGE_CHANNELS):
            raise ValueError(f"model.strides={list(strides)} must be three, one a stage: such as model.strides=[1,2,2]")
        stride_keys = f"model.stem_stride={stem_stride} model.strides={list(strides)}"
        in_channels = image_channels("WideResNet", input_shape, stem_stride * math.prod(strides), stride_keys)
        normalisation = Normalisation(norm, norm_batch_size, norm_groups, images=True)
        growth = width_growth(parametrization, width, base_width)

        def conv(fan_in: int, fan_out: int, growth: FanGrowth, stride: int = 1) -> nn.Conv2d:
            layer = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=not normalisation.has_shift)
            return initialised(layer, activation, growth)

        def shortcut(fan_in: int, fan_out: int, growth: FanGrowth, stride: int) -> nn.Module:
            if fan_in == fan_out and stride == 1:
                return nn.Identity()
            return initialised(nn.Conv2d(fan_in, fan_out, 1, stride=stride, bias=False), "linear", growth)

        def block(fan_in: int, fan_out: int, stride: int) -> Block:
            is_first = fan_in == _STEM_CHANNELS  # the stem has as many channels at any width
            first = growth.into if is_first else growth.within
            branch = nn.Sequential(
                activation_layer(activation),
                conv(fan_in, fan_out, first, stride),
                normalisation(fan_out, growth.into),
                activation_layer(activation),
                nn.Dropout(dropout),
                conv(fan_out, fan_out, growth.within),
            )
            return Block(
                normalisation(fan_in, UNGROWN if is_first else growth.into)
                if norm_placement == "pre"
                else normalisation(fan_out, growth.into),
                branch,
                placement=norm_placement,
                shortcut=shortcut(fan_in, fan_out, first, stride),
                residual_init=residual_init,
            )

        def blocks() -> Iterator[Block]:
            fan_in = _STEM_CHANNELS
            for base, stage_stride in zip(_STAGE_CHANNELS, strides, strict=True):
                fan_out = base * width
                yield block(fan_in, fan_out, stage_stride)
                for _ in range(blocks_per_stage - 1):
                    yield block(fan_out, fan_out, 1)
                fan_in = fan_out

        out_channels = _STAGE_CHANNELS[-1] * width
        self.stem = nn.Sequential(conv(in_channels, _STEM_CHANNELS, UNGROWN, stem_stride))
        if norm_placement == "post":
            self.stem.append(normalisation(_STEM_CHANNELS))
        self.blocks = nn.Sequential(*blocks())
        self.head = nn.Sequential(
            normalisation(out_channels, growth.into) if norm_placement == "pre" else nn.Identity(),
            activation_layer(activation),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            initialised(nn.Linear(out_channels, num_outputs), "linear", growth.out_of),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) to (N, num_outputs)."""
        return self.head(self.blocks(self.stem(inputs)))
