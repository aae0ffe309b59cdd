"""The transformer over the patches of an image, from the same blocks as the one over tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from playbook.models.attention import INIT_STD, Visibility
from playbook.models.layers import Activation, image_channels, initialised
from playbook.models.parametrization import Parametrization, grown, width_growth
from playbook.models.residual_block import NormPlacement, ResidualInit
from playbook.models.transformer_blocks import TransformerBlocks


class VisionTransformer(nn.Module):
    """An image cut into squares of `patch_size` pixels a side, each a token (ViT, Dosovitskiy et al. 2021).

    Takes (N, C, H, W); gives (N, num_outputs). Patches are embedded by one linear map, have learnt positions, see all
    others, and are averaged before the head: no class token, as in Beyer et al. (2022), "Better plain ViT baselines".

    Raises `ValueError` for data that is not an image, sides that patches do not divide, or heads that do not divide the
    width.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        width: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        patch_size: PositiveInt = 4,
        mlp_ratio: PositiveFloat = 4.0,
        activation: Activation = "gelu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm_placement: NormPlacement = "pre",
        residual_init: ResidualInit = "default",
        parametrization: Parametrization = "standard",
        base_width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        channels = image_channels("VisionTransformer", input_shape, patch_size, f"model.patch_size={patch_size}")
        _, height, pixels_wide = input_shape
        if height % patch_size or pixels_wide % patch_size:
            raise ValueError(
                f"model.patch_size={patch_size} must divide the image's sides: the data has {height}x{pixels_wide}"
                " pixels"
            )
        growth = width_growth(parametrization, width, base_width)
        num_patches = (height // patch_size) * (pixels_wide // patch_size)
        patches = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        self.patch_embedding = initialised(patches, "linear", growth.into)
        grown(self, growth.into)  # its own parameter, the positions
        self.position_embedding = nn.Parameter(torch.empty(num_patches, width))
        nn.init.normal_(self.position_embedding, std=INIT_STD)
        self.dropout = nn.Dropout(dropout)
        self.blocks = TransformerBlocks(
            width,
            depth,
            heads,
            mlp_ratio=mlp_ratio,
            activation=activation,
            dropout=dropout,
            attention_dropout=attention_dropout,
            norm_placement=norm_placement,
            residual_init=residual_init,
            growth=growth,
        )
        self.head = initialised(nn.Linear(width, num_outputs), "linear", growth.out_of)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) to (N, num_outputs)."""
        patches = self.patch_embedding(inputs).flatten(2).transpose(1, 2)
        stream = self.blocks(self.dropout(patches + self.position_embedding), Visibility(causal=False))
        return self.head(stream.mean(1))
