"""How far a mean over examples would be off with other examples of the same kind: its standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchmetrics import Metric


class StandardError(Metric):
    """The weighted mean of values, one an example, and its standard error; exact over batches and ranks.

    Sums are in float64. Of the mean Σwv / Σw (the loss per token of sequences of several lengths) it is that of a ratio
    (Cochran 1977, 6.4): √(n/(n−1) · Σ w²(v − mean)²) / Σw, which for equal weights is the standard deviation over √n.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        # n, Σw, Σwv, Σw², Σw²v, Σw²v²
        self.add_state("sums", torch.zeros(6, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, values: Tensor, weights: Tensor | None) -> None:
        """Values (n,), and weights (n,) ≥ 0 if they are not equal; an example of weight 0 does not count."""
        values = values.double()
        weights = torch.ones_like(values) if weights is None else weights.double()
        seen = weights > 0
        weighted = torch.where(seen, weights * values, 0.0)
        rows = [seen.double(), weights, weighted, weights * weights, weighted * weights, weighted * weighted]
        self.sums += torch.stack(rows).sum(1)

    def compute(self) -> tuple[float, float | None]:
        """The mean and its standard error, which is None of fewer than two examples."""
        n, w, wv, ww, wwv, wwvv = self.sums.tolist()
        if n < 2:
            return math.nan, None
        mean = wv / w
        squares = max(wwvv - 2 * mean * wwv + mean * mean * ww, 0.0)
        return mean, math.sqrt(squares * n / (n - 1)) / w
