"""The trunk that text and image transformers share: attention and a perceptron in turn, each a residual branch."""

from __future__ import annotations

import math

from torch import Tensor, nn

from playbook.models.attention import INIT_STD, SelfAttention, Visibility, linear
from playbook.models.layers import Activation, activation_layer
from playbook.models.parametrization import SAME_WIDTH, WidthGrowth, grown
from playbook.models.residual_block import Block, NormPlacement, ResidualInit


class TransformerBlocks(nn.Module):
    """`depth` times an attention block and a perceptron block: (N, L, width) to (N, L, width).

    `pre`: x + f(Norm(x)), with a norm after the last block, as in GPT-2. `post`: Norm(x + f(x)), with a norm before
    the first block, as in BERT. Both have 2·depth + 1 norms. With `residual_init="zero"` each branch is multiplied by
    a learnt scalar that begins at 0 (ReZero).

    Weights begin with a standard deviation of 0.02; with `pre` those of the last map of each branch with
    0.02 / √(2·depth), so that the sum of all branches keeps its size at any depth (GPT-2: Radford et al. 2019, section
    2.3). `post` normalises each sum, and ReZero begins without a sum: their last maps are like the others.

    As it grows, `heads` stay as many: each gets wider.

    Raises `ValueError` where `heads` do not divide `width`.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        *,
        mlp_ratio: float,
        activation: Activation,
        dropout: float,
        attention_dropout: float,
        norm_placement: NormPlacement,
        residual_init: ResidualInit,
        growth: WidthGrowth = SAME_WIDTH,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"model.heads={heads} must divide model.width={width} into equal parts")
        scaled = norm_placement == "pre" and residual_init == "default"
        output_std = INIT_STD / math.sqrt(2 * depth) if scaled else INIT_STD
        hidden = max(1, round(mlp_ratio * width))

        def norm() -> nn.Module:
            return grown(nn.LayerNorm(width), growth.into)

        def block(branch: nn.Module) -> Block:
            shortcut = nn.Identity()
            return Block(norm(), branch, placement=norm_placement, shortcut=shortcut, residual_init=residual_init)

        def attention() -> nn.Module:
            return SelfAttention(
                width,
                heads,
                dropout=dropout,
                attention_dropout=attention_dropout,
                output_std=output_std,
                growth=growth,
            )

        def mlp() -> nn.Module:
            return nn.Sequential(
                linear(width, hidden, growth=growth.within),
                activation_layer(activation),
                linear(hidden, width, output_std, growth.within),
                nn.Dropout(dropout),
            )

        self.first_norm = norm() if norm_placement == "post" else nn.Identity()
        self.layers = nn.ModuleList(
            nn.ModuleDict({"attention": block(attention()), "mlp": block(mlp())}) for _ in range(depth)
        )
        self.last_norm = norm() if norm_placement == "pre" else nn.Identity()

    def forward(self, inputs: Tensor, visibility: Visibility) -> Tensor:
        """(N, L, width) to the same shape."""
        stream = self.first_norm(inputs)
        for layer in self.layers:
            assert isinstance(layer, nn.ModuleDict)
            stream = layer["mlp"](layer["attention"](stream, visibility))
        return self.last_norm(stream)
