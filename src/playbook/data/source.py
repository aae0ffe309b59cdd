"""Where examples come from: the class that a fork writes to bring its own data.

A source is named by `_target_` in `conf/data/<name>.yaml`; the parameters of its constructor are the keys a user sets.
One with a key of its own:

    class Mine(Source):
        num_classes = 3

        def __init__(self, root: str, num_workers: NumWorkers = "auto") -> None:
            super().__init__(num_workers=num_workers)
            self.root = root

        def load(self, split: SplitName) -> Split:
            dataset = MyDataset(self.root, split)
            return DatasetSplit(dataset, dataset.labels)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias

from pydantic import NonNegativeInt
from torch import Tensor

from playbook.batch import Tree
from playbook.data.augment import Augmentation
from playbook.data.joined import JoinedSplit
from playbook.data.split import Split, SplitName, StoredSplit, TensorSplit
from playbook.data.standardisation import Standardisation, TreeStandardisation, hidden_by_outliers, is_measured

NumWorkers: TypeAlias = NonNegativeInt | Literal["auto"]


class Source(ABC):
    """A data set with a training, a validation and a test split.

    The constructor touches no file: a config is checked by building it. `load` raises `InputError` for whatever is
    missing or broken. Loading `train` or `val` must not open files of the test split (B12).

    `num_workers` processes make the batches of a split that is not in memory (`auto`: some, if one batch takes long to
    make; what a batch holds does not depend on it); `class_names` serve reports;
    `augmentation` changes the inputs of training batches, in whatever way the split is stored.

    `supplies` names attributes of the source that a model or a task is given if its constructor has a parameter of that
    name, as it is given `num_classes`: what only the data know, such as `vocab_size`. They are numbers, texts, tensors,
    or plain containers of them, for they are kept in checkpoints; properties may read files.
    """

    supplies: ClassVar[tuple[str, ...]] = ()
    class_names: tuple[str, ...] | None = None
    augmentation: Augmentation | None = None
    num_workers: int | Literal["auto"] = "auto"

    def __init__(self, *, num_workers: NumWorkers = "auto") -> None:
        self.num_workers = num_workers

    @property
    def num_classes(self) -> int | None:
        """The number of classes, None where there are none. A class attribute will do; a property may read files."""
        return None

    @abstractmethod
    def load(self, split: SplitName) -> Split:
        """The examples of one split, ready for a model."""

    def load_folded(self) -> Split:
        """The examples of training and of validation, to train on (`fold_validation`)."""
        return JoinedSplit(self.load("train"), self.load("val"))

    def facts(self) -> dict[str, Any]:
        """What the data supply, by name: `num_classes`, and what `supplies` names."""
        return {name: getattr(self, name) for name in ("num_classes", *self.supplies)}

    def fingerprint(self) -> str | None:
        """Which data `load` gives for `train` and `val`, where that can be told without loading them.

        It is compared when a run is found again, finished or not. None, which needs no effort: it is taken from the
        loaded splits (`fingerprint_of_splits`). For files that take long to load: `fingerprint_of_files`, with which
        the trials of a process read them once.
        """
        return None

    def caveats(self) -> list[str]:
        """What whoever reads the results has to know of the training examples, a line each: printed as warnings."""
        return []


class TensorSource(Source):
    """A source whose examples fit in memory: it says what they are, and standardisation and storage are done here.

    With `in_memory` they are kept as float32, on the device; otherwise as they were stored, and standardised batch by
    batch. The bits are the same. Of inputs of several parts each is standardised by itself; whole numbers of other
    dtypes than uint8 are ids, and stay what they are.
    """

    def __init__(self, *, in_memory: bool = True, num_workers: NumWorkers = "auto") -> None:
        super().__init__(num_workers=num_workers)
        self.in_memory = in_memory

    @abstractmethod
    def examples(self, split: SplitName) -> tuple[Tree, Tensor | None]:
        """Inputs (n, features) or (n, channels, …), or a tree of such; targets int64 (n,) or floats (n, k), or what the
        task asks for, or None.
        """

    def load(self, split: SplitName) -> Split:
        inputs, targets = self._train if split == "train" else self.examples(split)
        if targets is not None and targets.is_floating_point():
            targets = targets.float()
        if self.in_memory:
            return TensorSplit(self.standardisation(inputs), targets)
        return StoredSplit(inputs, targets, self.standardisation)

    def caveats(self) -> list[str]:
        """The features, and real-valued targets, whose ordinary values are lost beside a few that are far out."""
        return self._caveats

    @cached_property
    def _caveats(self) -> list[str]:
        inputs, targets = self._train
        found: list[tuple[str, int, float]] = []
        if isinstance(self.standardisation, Standardisation):  # a tree's parts have no numbers
            found += [("feature", *hidden) for hidden in hidden_by_outliers(inputs, self.standardisation.std)]
        if targets is not None and targets.is_floating_point():
            std = Standardisation.of(targets).std
            found += [("target", *hidden) for hidden in hidden_by_outliers(targets, std)]
        return [
            f"{kind} {index}: a few values, up to {largest:.3g}, are so far out that the others look the same beside"
            " them; mend or clip them, or take a logarithm"
            for kind, index, largest in found
        ]

    @cached_property
    def standardisation(self) -> Standardisation | TreeStandardisation:
        """Of the inputs, by the training split."""
        inputs = self._train[0]
        kind = Standardisation if isinstance(inputs, Tensor) and is_measured(inputs) else TreeStandardisation
        return kind.of(inputs)

    @cached_property
    def _train(self) -> tuple[Tree, Tensor | None]:
        return self.examples("train")
