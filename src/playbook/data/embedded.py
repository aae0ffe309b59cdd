"""Two small real data sets that travel with the package: nothing to download, nothing to find.

Where they are from and under which licences: `embedded_files/README.md`.

They take `root` and `download` like every other source, so that `data=` can be changed on a command line that sets
them, and have no use for them.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from playbook.data.source import NumWorkers, TensorSource
from playbook.data.split import SplitName
from playbook.data.stratify import Fraction, split_indices

_FILES = Path(__file__).with_name("embedded_files")


class _Embedded(TensorSource):
    def __init__(
        self,
        root: str | None = None,
        download: bool = False,
        in_memory: bool = True,
        num_workers: NumWorkers = "auto",
        val_fraction: Fraction = 0.2,
        test_fraction: Fraction = 0.15,
        split_seed: int = 0,
    ) -> None:
        super().__init__(in_memory=in_memory, num_workers=num_workers)
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        inputs, targets = self._all
        indices = self._indices[split]
        return inputs[indices], targets[indices]

    @cached_property
    def _indices(self) -> dict[SplitName, Tensor]:
        return split_indices(
            self._all[1],
            val_fraction=self.val_fraction,
            test_fraction=self.test_fraction,
            split_seed=self.split_seed,
        )

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor]:
        return self._read()

    @abstractmethod
    def _read(self) -> tuple[Tensor, Tensor]: ...


class Digits(_Embedded):
    """1,797 handwritten digits of 8×8 pixels in ten classes (Alpaydin and Kaynak 1998): inputs of shape (1, 8, 8)."""

    num_classes = 10
    class_names = tuple("0123456789")

    def _read(self) -> tuple[Tensor, Tensor]:
        with np.load(_FILES / "digits.npz", allow_pickle=False) as file:
            return torch.from_numpy(file["images"])[:, None], torch.from_numpy(file["targets"]).to(torch.int64)


class Diabetes(_Embedded):
    """442 patients, ten measurements each, and a score of the disease a year later (Efron et al. 2004): regression."""

    num_classes = None

    def _read(self) -> tuple[Tensor, Tensor]:
        with np.load(_FILES / "diabetes.npz", allow_pickle=False) as file:
            return torch.from_numpy(file["inputs"]), torch.from_numpy(file["targets"]).float()[:, None]
