"""How weights begin: stated here and at each layer, instead of left to torch's defaults.

torch's own default, uniform with variance 1 / (3·fan_in), shrinks a rectified signal to a sixth at every layer, so that
depth would act as a hidden learning rate. With the scales below the signal keeps its size at initialisation.
"""

from __future__ import annotations

from typing import Literal, TypeVar

from torch import nn

from playbook.models.activations import Activation

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def initialised(layer: Layer, activation: Activation | Literal["linear"]) -> Layer:
    """`layer` with normally distributed weights for its place in the network, and zero biases.

    `relu`, `gelu`, `silu`: variance 2 / fan_in (He et al. 2015). `tanh`, and `linear` for a map that no activation
    belongs to (the output layer, a projection shortcut): variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010).
    """
    if activation in ("linear", "tanh"):
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
