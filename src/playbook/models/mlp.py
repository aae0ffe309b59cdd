"""The multilayer perceptron: for tables, and the cheapest first baseline for anything that can be flattened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from playbook.models.layers import Activation, Norm, Normalisation, activation_layer, initialised
from playbook.models.parametrization import FanGrowth, Parametrization, width_growth
from playbook.models.residual_block import Block, NormPlacement, ResidualInit, check_residual_keys


class MLP(nn.Module):
    """`depth` hidden layers of `width` units, then a linear map to `num_outputs`.

    Takes (N, *input_shape) with any `input_shape`, which is flattened; gives (N, num_outputs). With `residual` the
    first hidden map is the stem and each of the other `depth - 1` is the branch of a block (`block.py`).
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        width: PositiveInt,
        depth: PositiveInt,
        activation: Activation = "relu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm: Norm = "none",
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
        normalisation = Normalisation(norm, norm_batch_size, norm_groups)
        growth = width_growth(parametrization, width, base_width)

        def linear(num_inputs: int, growth: FanGrowth) -> nn.Linear:
            return initialised(nn.Linear(num_inputs, width, bias=not normalisation.has_shift), activation, growth)

        def block() -> Block:
            return Block(
                normalisation(width, growth.into),
                nn.Sequential(activation_layer(activation), nn.Dropout(dropout), linear(width, growth.within)),
                placement=norm_placement,
                shortcut=nn.Identity() if residual else None,
                residual_init=residual_init,
            )

        self.stem = nn.Sequential(nn.Flatten(), linear(math.prod(input_shape), growth.into))
        if norm_placement == "post":
            self.stem.append(normalisation(width, growth.into))
        self.blocks = nn.Sequential(*(block() for _ in range(depth - 1)))
        self.head = nn.Sequential(
            normalisation(width, growth.into) if norm_placement == "pre" else nn.Identity(),
            activation_layer(activation),
            nn.Dropout(dropout),
            initialised(nn.Linear(width, num_outputs), "linear", growth.out_of),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, *input_shape) to (N, num_outputs)."""
        return self.head(self.blocks(self.stem(inputs)))
