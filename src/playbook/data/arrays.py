"""Your own data from one `.npz` file, without writing a class."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt
from torch import Tensor

from playbook.data.augment import CropFlip
from playbook.data.npz import NpzFile
from playbook.data.source import NumWorkers, TensorSource
from playbook.data.split import SplitName
from playbook.data.stratify import Fraction, split_indices
from playbook.errors import InputError

_Prefix = Literal["", "val_", "test_"]
_CHANNELS = (1, 3, 4)  # what images have, to recognise an image stored with its channels last


class Arrays(TensorSource):
    """The arrays `inputs` and `targets` of `np.savez("mine.npz", inputs=…, targets=…)`.

    Inputs are tables, (n, features) of floats, or images, (n, height, width) or (n, channels, height, width) of bytes
    or floats. Integer targets (n,) are classes 0, 1, …; float targets (n,) or (n, k) are for regression.

    The file may bring `val_inputs`, `val_targets` and `test_inputs`, `test_targets`; a split that it does not bring is
    taken from `inputs` by `val_fraction` or `test_fraction`. The test arrays are read when `test` is loaded, no sooner.
    Nothing in the file is unpickled.

    Raises:
        InputError: from `load` and `num_classes`, a line with the file, the array and what is expected of it.
    """

    def __init__(
        self,
        path: str,
        root: str | None = None,
        download: bool = False,
        in_memory: bool = True,
        num_workers: NumWorkers = "auto",
        val_fraction: Fraction = 0.2,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.15,
        split_seed: int = 0,
        crop_padding: NonNegativeInt = 0,
        flip: bool = False,
    ) -> None:
        super().__init__(in_memory=in_memory, num_workers=num_workers)
        self.path = Path(root or "") / path
        self._file = NpzFile(self.path)
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.augmentation = CropFlip(crop_padding, flip) if crop_padding or flip else None

    @property
    def num_classes(self) -> int | None:
        """One more than the largest training target; None if targets are floats. Reads the file."""
        targets = self._pool[1]
        return None if targets.is_floating_point() else int(targets.max()) + 1

    def fingerprint(self) -> str:
        return self._file.fingerprint("inputs", "targets", "val_inputs", "val_targets")

    def examples(self, split: SplitName) -> tuple[Tensor, Tensor]:
        prefix: dict[SplitName, _Prefix] = {"val": "val_", "test": "test_"}
        if split in prefix and self._has(prefix[split]):
            return self._checked_like_training(prefix[split])
        if split == "test" and self.test_fraction == 0:
            raise InputError(f"{self.path} has no test_inputs: save some, or type data.test_fraction=0.15")
        inputs, targets = self._pool
        indices = self._indices[split]
        return inputs[indices], targets[indices]

    @cached_property
    def _indices(self) -> dict[SplitName, Tensor]:
        return split_indices(
            self._pool[1],
            val_fraction=0.0 if self._has("val_") else self.val_fraction,
            test_fraction=0.0 if self._has("test_") else self.test_fraction,
            split_seed=self.split_seed,
        )

    @cached_property
    def _pool(self) -> tuple[Tensor, Tensor]:
        inputs, targets = self._read("")
        if self.augmentation is not None and inputs.ndim != 4:
            raise InputError(f"data.crop_padding and data.flip are for images; {self.path} has a table of inputs")
        return inputs, targets

    def _checked_like_training(self, prefix: _Prefix) -> tuple[Tensor, Tensor]:
        inputs, targets = self._read(prefix)
        for name, own, training in (("inputs", inputs, self._pool[0]), ("targets", targets, self._pool[1])):
            if (own.dtype, own.shape[1:]) != (training.dtype, training.shape[1:]):
                raise InputError(
                    f"{self.path}: found {prefix}{name} of {_kind(own)}, expected {_kind(training)}, as {name} are"
                )
        if self.num_classes is not None and int(targets.max()) >= self.num_classes:
            raise InputError(
                f"{self.path}: found class {int(targets.max())} in {prefix}targets, expected 0 to "
                f"{self.num_classes - 1}, as in targets"
            )
        return inputs, targets

    def _has(self, prefix: _Prefix) -> bool:
        return f"{prefix}inputs" in self._file.names or f"{prefix}targets" in self._file.names

    def _read(self, prefix: _Prefix) -> tuple[Tensor, Tensor]:
        inputs, targets = (self._array(f"{prefix}{kind}") for kind in ("inputs", "targets"))
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise InputError(
                f"{self.path}: found {len(inputs)} {prefix}inputs and {len(targets)} {prefix}targets, "
                f"expected one target for each input, and at least one"
            )
        return self._inputs(f"{prefix}inputs", inputs), self._targets(f"{prefix}targets", targets)

    def _array(self, name: str) -> NDArray[np.generic]:
        array = self._file.array(name)
        if array.ndim == 0:
            raise InputError(f"{self.path}: found a single number for {name}, expected an array")
        if 0 in array.shape[1:]:
            raise InputError(f"{self.path}: found {name} of shape {array.shape}, expected some numbers an example")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{self.path}: found nan or infinity in {name}, expected finite numbers")
        return array

    def _inputs(self, name: str, array: NDArray[np.generic]) -> Tensor:
        floats = array.dtype.kind == "f"
        if not (floats or array.dtype == np.uint8) or array.ndim not in (2, 3, 4):
            raise InputError(
                f"{self.path}: found {name} of {array.dtype} {array.shape}, expected floats or uint8 of shape "
                f"(n, features), (n, height, width) or (n, channels, height, width)"
            )
        if array.ndim == 4 and array.shape[1] not in _CHANNELS and array.shape[3] in _CHANNELS:
            raise InputError(
                f"{self.path}: found {name} of shape {array.shape}, expected channels first: "
                f"save {name}.transpose(0, 3, 1, 2)"
            )
        if floats and array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor[:, None] if tensor.ndim == 3 else tensor

    def _targets(self, name: str, array: NDArray[np.generic]) -> Tensor:
        if array.dtype.kind in "iu" and array.ndim == 1:
            if array.min() < 0:
                raise InputError(f"{self.path}: found class {array.min()} in {name}, expected 0 or more")
            if array.max() >= array.size:  # identifiers, not labels: the last layer would have an output for each
                raise InputError(
                    f"{self.path}: found class {array.max()} in {name} of {array.size} examples, expected classes"
                    " numbered 0, 1, 2, …; renumber them with numpy.unique(…, return_inverse=True)"
                )
            return torch.from_numpy(array.astype(np.int64))
        if array.dtype.kind == "f" and array.ndim in (1, 2):
            tensor = torch.from_numpy(array.astype(np.float64))
            single = tensor.float()  # as a model is trained on them
            if not single.isfinite().all() or (tensor.any() and not single.any()):
                raise InputError(
                    f"{self.path}: found {name} up to {float(tensor.abs().max()):.3g}, expected numbers that a float32"
                    " holds (1e-38 to 3e38): save them in other units"
                )
            return tensor[:, None] if tensor.ndim == 1 else tensor
        raise InputError(
            f"{self.path}: found {name} of {array.dtype} {array.shape}, expected integers (n,) for classes, or floats "
            f"(n,) or (n, k) for regression"
        )


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape[1:])}"
