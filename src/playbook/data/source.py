"""Where examples come from: the class that a fork writes to bring its own data.

A source is named by `_target_` in `conf/data/<name>.yaml`; the parameters of its constructor are the keys a user sets.
The smallest useful one:

    class Mine(Source):
        num_classes = 3

        def __init__(self, root: str, download: bool = False, in_memory: bool = False, num_workers: int = 4): ...
        def load(self, split): return DatasetSplit(MyDataset(self.root, split), targets)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from torch import Tensor

from playbook.data.augment import Augmentation
from playbook.data.split import Split, SplitName, StoredSplit, TensorSplit
from playbook.data.standardisation import Normalisation


class Source(ABC):
    """A data set with a training, a validation and a test split.

    The constructor touches no file: a config is checked by building it. `load` raises `InputError` for whatever is
    missing or broken. Loading `train` or `val` must not open files of the test split (B12).
    """

    class_names: tuple[str, ...] | None = None
    augmentation: Augmentation | None = None
    num_workers: int = 0

    @property
    @abstractmethod
    def num_classes(self) -> int | None:
        """The number of classes, or None for regression. A class attribute will do; a property may read files."""

    @abstractmethod
    def load(self, split: SplitName) -> Split:
        """The examples of one split, ready for a model."""


class TensorSource(Source):
    """A source whose examples fit in memory: it says what they are, and normalisation and storage are done here."""

    def __init__(self, *, in_memory: bool, num_workers: int = 0) -> None:
        self.in_memory = in_memory
        self.num_workers = num_workers

    @abstractmethod
    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        """Inputs (n, features) or (n, channels, …), of any number type; targets int64 (n,) or floats (n, k)."""

    def load(self, split: SplitName) -> Split:
        inputs, targets = self._train if split == "train" else self.examples(split)
        if targets.is_floating_point():
            targets = targets.float()
        if self.in_memory:
            return TensorSplit(self.normalisation(inputs), targets)
        return StoredSplit(inputs, targets, self.normalisation)

    @cached_property
    def normalisation(self) -> Normalisation:
        """Of the inputs, by the training split."""
        return Normalisation.of(self._train[0])

    @cached_property
    def _train(self) -> tuple[Tensor, Tensor]:
        return self.examples("train")
