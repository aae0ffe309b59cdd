"""`freeze=[…]`: parts of the model that are not trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from playbook.training.name_patterns import matching


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Parameters whose names match a pattern get no gradient.

    A normalisation layer whose running averages match too is in evaluation mode from now on: it normalises by them and
    leaves them as they are. `evaluating` gives each module its mode back.

    Raises:
        InputError: a pattern matches nothing.
    """
    names = matching(list(model.state_dict()), patterns, "freeze")
    for name, param in model.named_parameters(remove_duplicate=False):
        if name in names:
            param.requires_grad_(False)
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and f"{name}.running_mean".lstrip(".") in names:
            module.eval()
