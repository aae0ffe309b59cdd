"""The activations that every family offers, by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

Activation = Literal["relu", "gelu", "silu", "tanh"]

_LAYERS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


def activation_layer(name: Activation) -> nn.Module:
    """A new elementwise layer. Never in place: the residual stream that it reads is added to later."""
    return _LAYERS[name]()
