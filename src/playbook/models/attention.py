"""Self-attention by `scaled_dot_product_attention`: torch's fused kernels where they fit, on every device.

What a position may look at is said once for a whole trunk (`Visibility`), and so are the angles of rotary positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from playbook.models.parametrization import SAME_WIDTH, UNGROWN, FanGrowth, WidthGrowth, grown

INIT_STD = 0.02
"""Standard deviation of the weights of a transformer at the start (GPT-2, Radford et al. 2019)."""

_ROTARY_BASE = 10_000.0


class Visibility(NamedTuple):
    """Which positions a position attends to, and how positions are told apart where rotation does that.

    `allowed`, bool (N, 1, L, L), is True where the query of the third dimension sees the key of the last; without it
    each sees all, or with `causal` those before it and itself. `rotation` is `rotary_angles`' pair.
    """

    causal: bool
    allowed: Tensor | None = None
    rotation: tuple[Tensor, Tensor] | None = None


def visibility_with_padding(real: Tensor, causal: bool) -> Tensor:
    """`allowed` (N, 1, L, L) of examples whose tokens are `real`, bool (N, L), True where a token is no padding.

    Padding is seen by nothing but itself: a softmax over nothing would not be a number.
    """
    length = real.shape[1]
    allowed = real[:, None, None, :].expand(-1, 1, length, -1)
    if causal:
        allowed = allowed & torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    return allowed | torch.eye(length, dtype=torch.bool, device=real.device)


def rotary_angles(length: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines (length, head_width / 2) of rotary positions (Su et al. 2021), in the dtype of `like`.

    They are computed in at least float32, whatever the precision: position 255 and 256 are the same in bfloat16.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    halves = torch.arange(0, head_width, 2, device=like.device, dtype=dtype)
    frequencies = _ROTARY_BASE ** (-halves / head_width)
    angles = torch.outer(torch.arange(length, device=like.device, dtype=dtype), frequencies)
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotated(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Queries or keys (…, L, head_width), the first half of each paired with the second, turned by position.

    The product of a query and a key then depends on the distance of their positions alone.
    """
    cosines, sines = (part.to(vectors.dtype) for part in rotation)
    first, second = vectors.chunk(2, -1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], -1)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al. 2017): (N, L, width) to (N, L, width).

    `dropout` is of what comes out; `attention_dropout` of the weights, for which torch has no fused kernel on the CPU.
    Weights begin normally distributed with `INIT_STD`, those of the last map with `output_std`, biases at 0. Products
    of queries and keys of d features are divided by √d, and of those that have grown by their growth's root beside:
    once trained, they add up as d and not as √d (Yang et al. 2022, definition 4.1).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        dropout: float,
        attention_dropout: float,
        output_std: float,
        growth: WidthGrowth = SAME_WIDTH,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.attention_dropout = attention_dropout
        self.scale = None if growth.factor == 1 else (width / heads * growth.factor) ** -0.5
        self.qkv = linear(width, 3 * width, growth=growth.within)
        self.output = linear(width, width, output_std, growth.within)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor, visibility: Visibility) -> Tensor:
        """(N, L, width) to the same shape."""
        together = self.qkv(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        (query, key), value = together[:2], together[2]
        if visibility.rotation is not None:
            query, key = rotated(together[:2], visibility.rotation)
        mixed = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=visibility.allowed,
            dropout_p=self.attention_dropout if self.training else 0.0,
            is_causal=visibility.causal and visibility.allowed is None,
            scale=self.scale,
        )
        return self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))


def linear(num_inputs: int, num_outputs: int, std: float = INIT_STD, growth: FanGrowth = UNGROWN) -> nn.Linear:
    """A map with normally distributed weights of standard deviation `std`, before it has grown, and zero biases."""
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.normal_(layer.weight, std=std * growth.std)
    nn.init.zeros_(layer.bias)
    return grown(layer, growth)
