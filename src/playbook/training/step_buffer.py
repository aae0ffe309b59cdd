"""What every step leaves behind, kept on the device until somebody needs it.

Reading a number from a GPU waits for it, and a step that waits is slow. So losses and gradient norms stay tensors in a
list; `settle` brings all of them to the host at once, every few dozen steps, and looks whether training diverged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from playbook.run_files import StepRows


@dataclass
class StepBuffer:
    """Collects the columns of `steps.csv`. One value a step is appended to each list, on whatever device it is.

    With several ranks the loss of a step is the mean over ranks, taken when it settles.
    """

    clip_norm: float | None
    world_size: int = 1
    losses: list[Tensor] = field(default_factory=list)
    grad_norms: list[Tensor] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    data_seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    first_step: int = 0
    last_loss: float | None = None
    """The mean loss of the steps that settled last, for the eye."""
    _settled: list[NDArray[np.floating[Any]]] = field(default_factory=list)
    _num_settled: int = 0

    def settle(self) -> int | None:
        """Bring what is new to the host, and return the first step whose loss or gradient norm is not finite."""
        count = len(self.step_seconds) - self._num_settled  # an exception may have left a step without its norm
        del self.losses[count:], self.grad_norms[count:], self.lrs[len(self.step_seconds) :]
        if not self.losses:
            return None
        columns = torch.stack([torch.stack(self.losses), torch.stack(self.grad_norms).to(self.losses[0].dtype)])
        if self.world_size > 1:
            torch.distributed.all_reduce(columns)
            columns = columns / self.world_size
        if columns.dtype == torch.bfloat16:
            columns = columns.float()
        values = columns.cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
        first_bad = self.first_step + self._num_settled + int(bad[0]) if len(bad) else None
        self._settled.append(values)
        self._num_settled += values.shape[1]
        self.last_loss = float(values[0].mean())
        self.losses.clear()
        self.grad_norms.clear()
        return first_bad

    def drain(self, until: int | None = None) -> StepRows:
        """The rows of all settled steps before `until`, and begin anew after them."""
        values = np.concatenate(self._settled, axis=1) if self._settled else np.zeros((2, 0), np.float32)
        count = values.shape[1] if until is None else min(values.shape[1], until - self.first_step)
        loss, grad_norm = values[:, :count]
        clipped = grad_norm > self.clip_norm if self.clip_norm is not None else np.zeros(count, bool)
        rows = StepRows(
            first_step=self.first_step,
            loss=loss,
            grad_norm=grad_norm,
            lr=self.lrs[:count],
            clipped=clipped,
            data_seconds=self.data_seconds[:count],
            step_seconds=self.step_seconds[:count],
        )
        self.first_step += values.shape[1]
        self._settled, self._num_settled = [], 0
        for column in (self.lrs, self.data_seconds, self.step_seconds):
            column.clear()
        return rows
