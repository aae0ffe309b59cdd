"""A task: here classification with a loss of its own. Its metrics are those of classification and the config's."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from playbook.tasks import Classification


class FocalClassification(Classification):
    """The focal loss, which looks away from what is already right (Lin et al. 2017)."""

    def __init__(
        self,
        train_targets: Tensor,
        num_classes: int | None,
        gamma: Annotated[float, Field(ge=0)] = 2.0,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(train_targets, num_classes, metrics=metrics)
        self.gamma = gamma

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch; outputs (n, classes), targets int64 (n,)."""
        losses = F.cross_entropy(outputs, targets, reduction="none")
        return ((1 - torch.exp(-losses)) ** self.gamma * losses).mean()
