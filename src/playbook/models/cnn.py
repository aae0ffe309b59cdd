"""A small convolutional network: for 8x8 digits up to 32x32 photographs on a laptop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from playbook.models.layers import Activation, Norm, Normalisation, activation_layer, image_channels, initialised
from playbook.models.parametrization import FanGrowth, Parametrization, width_growth
from playbook.models.residual_block import Block, NormPlacement, ResidualInit, check_residual_keys


class CNN(nn.Module):
    """`stages` stages of `depth` 3x3 convolutions each, then the mean over positions and a linear map.

    Takes (N, C, H, W); gives (N, num_outputs). The first stage has `width` channels at full resolution; each further
    stage begins with a convolution of stride 2 to twice the channels, so that every stage costs about the same. With
    `residual` the convolutions that keep the shape, `depth - 1` a stage, are the branches of blocks (`block.py`).

    Raises `ValueError` for data that is not an image, or has fewer pixels a side than 2^(stages - 1).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        width: PositiveInt,
        depth: PositiveInt,
        stages: PositiveInt = 3,
        activation: Activation = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm: Norm = "batch",
        norm_batch_size: Annotated[int, Field(ge=2)] = 64,
        norm_groups: PositiveInt = 8,
        residual: bool = False,
        norm_placement: NormPlacement = "pre",
        residual_init: ResidualInit = "default",
        parametrization: Parametrization = "standard",
        base_width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        check_residual_keys(residual, depth, norm_placement, residual_init)
        in_channels = image_channels("CNN", input_shape, 2 ** (stages - 1), f"model.stages={stages}")
        normalisation = Normalisation(norm, norm_batch_size, norm_groups, images=True)
        growth = width_growth(parametrization, width, base_width)

        def conv(fan_in: int, fan_out: int, growth: FanGrowth, stride: int = 1) -> nn.Conv2d:
            layer = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=not normalisation.has_shift)
            return initialised(layer, activation, growth)

        def block(fan_in: int, fan_out: int, stride: int, shortcut: nn.Module | None) -> Block:
            return Block(
                normalisation(fan_in if norm_placement == "pre" else fan_out, growth.into),
                nn.Sequential(
                    activation_layer(activation), nn.Dropout(dropout), conv(fan_in, fan_out, growth.within, stride)
                ),
                placement=norm_placement,
                shortcut=shortcut,
                residual_init=residual_init,
            )

        def blocks() -> Iterator[Block]:
            for stage in range(stages):
                channels = width * 2**stage
                if stage > 0:
                    yield block(channels // 2, channels, 2, None)
                for _ in range(depth - 1):
                    yield block(channels, channels, 1, nn.Identity() if residual else None)

        out_channels = width * 2 ** (stages - 1)
        self.stem = nn.Sequential(conv(in_channels, width, growth.into))
        if norm_placement == "post":
            self.stem.append(normalisation(width, growth.into))
        self.blocks = nn.Sequential(*blocks())
        self.head = nn.Sequential(
            normalisation(out_channels, growth.into) if norm_placement == "pre" else nn.Identity(),
            activation_layer(activation),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            initialised(nn.Linear(out_channels, num_outputs), "linear", growth.out_of),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) to (N, num_outputs)."""
        return self.head(self.blocks(self.stem(inputs)))
