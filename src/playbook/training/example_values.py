"""What the examples of an evaluation had to say about the objective, collected for `playbook.examples`."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from playbook.config import ObjectiveConfig
from playbook.data import Split
from playbook.data.stratify import labels_of, random_sample
from playbook.examples import MOST_BITS, MOST_FLOATS, About
from playbook.training.distributed import Rank

_BITS, _FLOATS = 1, 2


class ExampleValues:
    """Those of the passes over the examples at `indices` of a split: of all of them, or of a fixed sample.

    `data` tells the split from others where its examples have no labels.
    """

    def __init__(self, objective: ObjectiveConfig, split: Split, indices: Tensor | None, data: str, rank: Rank) -> None:
        self._objective = objective
        self._split = split
        self._indices = indices
        self._data = data
        self._rank = rank
        self.num_judged = len(split) if indices is None else len(indices)
        self._places = random_sample(self.num_judged, MOST_BITS, seed=0)  # in the pass
        self._described: dict[int, tuple[Tensor, About]] = {}

    def begin(self, device: torch.device) -> None:
        """A new pass, whose values come on this device."""
        self._kind = torch.zeros((), dtype=torch.int64, device=device)
        self._values = torch.zeros(2, len(self._places), dtype=torch.float64, device=device)  # and weights

    def add(self, begin: int, values: Tensor, weights: Tensor | None) -> None:
        """The values (n,) of a batch whose first example has the place `begin` in the pass, and their weights."""
        low, high = torch.searchsorted(self._places, torch.tensor([begin, begin + len(values)])).tolist()
        chosen = (self._places[low:high] - begin).to(values.device)
        self._values[0, low:high] = values[chosen].double()
        self._values[1, low:high] = 1.0 if weights is None else weights[chosen].double()
        self._kind.clamp_(min=_BITS if values.dtype == torch.bool else _FLOATS)

    def end(self) -> tuple[About, NDArray[Any]] | None:
        """What all ranks have collected; None where the objective is no mean over examples."""
        if self._rank.world_size > 1:  # each has filled the places of its batches
            distributed.all_reduce(self._kind, op=distributed.ReduceOp.MAX)
            distributed.all_reduce(self._values)
        kind = int(self._kind)
        if not kind:
            return None
        if kind not in self._described:
            self._described[kind] = self._describe(kind)
        kept, about = self._described[kind]
        values, weights = self._values.cpu()[:, kept].numpy()
        if kind == _BITS:
            return about, values.astype(np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):
            return about, _equally_weighted(values, weights).astype(np.float32)

    def _describe(self, kind: int) -> tuple[Tensor, About]:
        kept = random_sample(len(self._places), MOST_BITS if kind == _BITS else MOST_FLOATS, seed=1)
        places, labels = self._places[kept], labels_of(self._split)
        chosen = places if self._indices is None else self._indices.cpu()[places]
        digest = hashlib.blake2b(chosen.numpy().tobytes(), digest_size=8)
        # Other settings of the same data, such as the size of an image, leave the examples and their labels.
        digest.update(self._data.encode() if labels is None else labels[chosen].contiguous().numpy().tobytes())
        return kept, About(
            metric=self._objective.metric,
            mode=self._objective.mode,
            values="bits" if kind == _BITS else "float32",
            examples=len(chosen),
            judged=self.num_judged,
            which=digest.hexdigest(),
        )


def _equally_weighted(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values whose plain mean is the weighted mean of these, and whose spread gives that mean's standard error.

    They are m + w (v − m) / mean(w), the linearised ratio (Cochran 1977, 6.4). So whoever compares two trials example
    by example need not know the weights, which are the same in both.
    """
    if (weights == weights[0]).all():
        return values
    mean = (weights * values).sum() / weights.sum()
    return mean + weights * (values - mean) / weights.mean()
