"""Which parameters weight decay applies to."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORMALISATION = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)  # _NormBase: batch and instance norm, any rank


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """The parameters of `module` as the groups that any torch optimizer takes, those that should not decay apart.

    Decay pulls a weight matrix towards a simpler function. The scale of a normalisation layer and a bias do not make
    a function simpler by being small, so they form a second group whose `weight_decay` is 0 whatever the optimizer's
    own is. To it belong the parameters of a normalisation layer, those with "bias" in their name, and all that have at
    most one dimension, which catches a fork's own normalisation layers. A group without parameters is left out, and
    a parameter that two modules share is listed once.

    The second group carries `norm_and_bias=True`, by which the optimizers here find it when they are told
    `decay_norm_and_bias`.
    """
    normalising = {
        id(param) for layer in module.modules() if isinstance(layer, _NORMALISATION) for param in layer.parameters()
    }
    weights: list[nn.Parameter] = []
    exempt: list[nn.Parameter] = []
    for name, param in module.named_parameters():
        is_exempt = param.ndim <= 1 or id(param) in normalising or "bias" in name.rpartition(".")[2]
        (exempt if is_exempt else weights).append(param)
    groups: list[dict[str, Any]] = []
    if weights:
        groups.append({"params": weights})
    if exempt:
        groups.append({"params": exempt, "weight_decay": 0.0, "norm_and_bias": True})
    return groups
