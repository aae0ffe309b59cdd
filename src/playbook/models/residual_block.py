"""One block of a trunk, shared by all families: where its norm stands, whether there is a skip, how it begins.

All families are a stem, blocks and a head. A block's branch is activation, dropout, linear map, so that without skips
the layers read linear, norm, activation, dropout, linear, …; `residual=true` adds the skips and nothing else. Before
the branch (`pre`) or after the sum (`post`), every map of the trunk has one norm, the stem's or the head's included:
comparing placements compares placements, at equal parameters.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

NormPlacement = Literal["pre", "post"]
ResidualInit = Literal["default", "zero"]


class Block(nn.Module):
    """`pre`: s(x) + f(Norm(x)). `post`: Norm(s(x) + f(x)), known to cause trouble at high learning rates (rule `E8`).

    s is `shortcut`, or nothing where that is None. With `residual_init="zero"` the branch f is multiplied by a learnt
    scalar that begins at 0 (ReZero, Bachlechner et al. 2020). Zeroing the branch's last map would begin at the same
    function, but the scalar leaves the branch's own initialisation as it is, and is one rule for every norm and
    placement. A block without a shortcut has no residual branch and is not scaled.
    """

    def __init__(
        self,
        norm: nn.Module,
        branch: nn.Module,
        *,
        placement: NormPlacement,
        shortcut: nn.Module | None,
        residual_init: ResidualInit,
    ) -> None:
        super().__init__()
        self.placement = placement
        self.norm = norm
        self.branch = branch
        self.shortcut = shortcut
        scaled = shortcut is not None and residual_init == "zero"
        self.branch_scale = nn.Parameter(torch.zeros(())) if scaled else None

    def forward(self, inputs: Tensor, *context: Any) -> Tensor:
        """(N, features in, …) to (N, features out, …); `context` is handed to the branch."""
        if self.placement == "pre":
            return self._add_shortcut(inputs, self.branch(self.norm(inputs), *context))
        return self.norm(self._add_shortcut(inputs, self.branch(inputs, *context)))

    def _add_shortcut(self, inputs: Tensor, branch: Tensor) -> Tensor:
        if self.shortcut is None:
            return branch
        if self.branch_scale is not None:
            branch = self.branch_scale * branch
        return self.shortcut(inputs) + branch


def check_residual_keys(residual: bool, depth: int, placement: NormPlacement, residual_init: ResidualInit) -> None:
    """Raises `ValueError` for keys that describe a residual branch where there is none."""
    if residual and depth < 2:
        raise ValueError(f"model.residual=true needs model.depth of 2 or more: depth={depth} has no map to skip")
    if not residual and placement == "post":
        raise ValueError("model.norm_placement=post needs model.residual=true: without it there is one place for norms")
    if not residual and residual_init == "zero":
        raise ValueError("model.residual_init=zero needs model.residual=true: without it no branch may begin at zero")
