"""The transformer over tokens: a decoder for language modelling, or an encoder for labels of tokens or of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from playbook.models.attention import INIT_STD, Visibility, linear, rotary_angles, visibility_with_padding
from playbook.models.layers import Activation
from playbook.models.parametrization import FanGrowth, Parametrization, grown, width_growth
from playbook.models.residual_block import NormPlacement, ResidualInit
from playbook.models.transformer_blocks import TransformerBlocks


class Transformer(nn.Module):
    """`depth` layers of attention and perceptron over embedded tokens (Vaswani et al. 2017, Radford et al. 2019).

    Takes token ids, int64 (N, L), or `{"tokens": …, "mask": …}` with a bool mask (N, L) that is False where a token is
    padding, which is neither seen nor pooled. Gives (N, L, num_outputs), or (N, num_outputs) with `pool="mean"`.

    A decoder is `causal`: output i depends on the tokens up to i alone. `positions` are `learned`, one vector for each
    of the `input_shape[0]` places, or `rotary`, which texts of any length have. With `tied_embeddings` the last map is
    the transposed embedding of the tokens (Press and Wolf 2017), and there is no head. Roles by name of parameters:
    `token_embedding`, `position_embedding`, `blocks`, `head`.

    Raises `ValueError` for data that are not texts of a vocabulary, or keys that do not go together.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_outputs: int,
        vocab_size: int | None,
        width: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_ratio: PositiveFloat = 4.0,
        causal: bool = True,
        pool: Literal["none", "mean"] = "none",
        positions: Literal["learned", "rotary"] = "rotary",
        tied_embeddings: bool = True,
        activation: Activation = "gelu",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        norm_placement: NormPlacement = "pre",
        residual_init: ResidualInit = "default",
        parametrization: Parametrization = "standard",
        base_width: PositiveInt | None = None,
    ) -> None:
        super().__init__()
        if vocab_size is None:
            raise ValueError(
                f"model: the transformer takes tokens of a vocabulary, and these data, of shape {tuple(input_shape)},"
                " name none: use data=text, or model=vit for images"
            )
        if tied_embeddings and num_outputs != vocab_size:
            raise ValueError(
                f"model.tied_embeddings=true needs as many outputs as tokens: the task has {num_outputs} outputs, the"
                f" data {vocab_size} tokens; use model.tied_embeddings=false"
            )
        if positions == "rotary" and width % (2 * heads):
            raise ValueError(
                f"model.positions=rotary turns pairs of features: model.width={width} over model.heads={heads} must be"
                " an even number"
            )
        growth = width_growth(parametrization, width, base_width)
        self.causal, self.pool, self.heads, self.growth = causal, pool, heads, growth.factor
        self.token_embedding = _embedding(vocab_size, width, growth.into)
        self.position_embedding = _embedding(input_shape[0], width, growth.into) if positions == "learned" else None
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
        self.head = None if tied_embeddings else linear(width, num_outputs, growth=growth.out_of)

    def forward(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Tokens (N, L), or those with a mask, to (N, L, num_outputs) or (N, num_outputs)."""
        tokens, real = (inputs, None) if isinstance(inputs, Tensor) else (inputs["tokens"], inputs["mask"])
        length = tokens.shape[1]
        stream = self.token_embedding(tokens)
        rotation = None
        if self.position_embedding is None:
            rotation = rotary_angles(length, stream.shape[-1] // self.heads, stream)
        else:
            stream = stream + self.position_embedding.weight[:length]
        allowed = None if real is None else visibility_with_padding(real, self.causal)
        stream = self.blocks(self.dropout(stream), Visibility(self.causal, allowed, rotation))
        if self.pool == "mean":
            stream = stream.mean(1) if real is None else _mean_of_real(stream, real)
        if self.head is not None:
            return self.head(stream)
        if self.growth != 1:  # the embedding's weights keep their size, so that their output must be divided (table 8)
            stream = stream / self.growth
        return F.linear(stream, self.token_embedding.weight)


def _embedding(num_rows: int, width: int, growth: FanGrowth) -> nn.Embedding:
    embedding = nn.Embedding(num_rows, width)
    nn.init.normal_(embedding.weight, std=INIT_STD)
    return grown(embedding, growth)


def _mean_of_real(stream: Tensor, real: Tensor) -> Tensor:
    """The mean over the tokens that are no padding: (N, L, width) to (N, width), 0 where there is none."""
    zero = torch.zeros((), dtype=stream.dtype, device=stream.device)
    counts = real.sum(1, keepdim=True).clamp(min=1)
    return torch.where(real[:, :, None], stream, zero).sum(1) / counts
