"""Which data a run saw, in sixteen hexadecimal digits: other data under an old name must not pass for the old ones.

The digits depend on the content alone, not on names, places or times of change, so they are equal on every machine.
They tell edits and mix-ups apart, not forgeries.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor

from playbook.data.seeding import generators_seeded
from playbook.data.split import Split, StoredSplit, TensorSplit
from playbook.randomness import Stream, fold_in

_BLOCK = 1 << 20
_NUM_BLOCKS = 16  # a file of up to 16 MiB is read as a whole
_TENSOR_BYTES = 1 << 26  # of the inputs of a split that is in memory: 64 MiB take 0.1 s
_NUM_STORED = 32  # examples of a split that has to read or make each one


def fingerprint_of_files(*paths: str | Path) -> str:
    """Of files, in the order given: their sizes, and sixteen blocks of 1 MiB of each, the first and the last included.

    For a `Source.fingerprint` of files that take long to load.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{size};".encode())
            last = max(size - _BLOCK, 0)
            for number in range(_NUM_BLOCKS):
                start = min(number * _BLOCK, last) if size <= _NUM_BLOCKS * _BLOCK else last * number // 15
                file.seek(start)
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def fingerprint_of_splits(*splits: Split) -> str:
    """Of splits as a model sees them: their sizes and shapes, all targets, and evenly spaced examples.

    Those are all examples (up to 64 MiB) of a split in memory, and 32 of any other.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in splits:
        digest.update(f"{len(split)} {split.input_shape};".encode())
        _add(digest, split.targets)
        count = _NUM_STORED
        if isinstance(split, TensorSplit | StoredSplit):
            count = _TENSOR_BYTES // (4 * max(1, torch.Size(split.input_shape).numel()))
        indices = torch.linspace(0, len(split) - 1, max(1, min(count, len(split)))).long()
        with generators_seeded(fold_in(0, Stream.EVALUATION)):
            inputs, targets = split.batch(indices.to(split.targets.device))
        _add(digest, inputs)
        _add(digest, targets)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
