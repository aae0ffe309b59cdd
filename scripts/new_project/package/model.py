"""A model: any `nn.Module`; its annotated parameters are the keys of `conf/model/NAME_mlp.yaml`."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn


class Network(nn.Module):
    """Two layers.

    `input_shape` is that of one example and `num_outputs` what the task wants: both are supplied by the program.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        num_outputs: int,
        width: PositiveInt = 32,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(input_shape), width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(width, num_outputs),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, *input_shape) to (n, num_outputs)."""
        outputs: Tensor = self.layers(inputs)
        return outputs
