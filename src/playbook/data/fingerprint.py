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

from playbook.batch import tensors
from playbook.data.seeding import generators_seeded
from playbook.data.split import Split, StoredSplit, StreamSplit, TensorSplit
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

    Those are all examples (up to 64 MiB) of a split in memory, and 32 of any other: of a stream the first.
    """
    digest = hashlib.blake2b(digest_size=8)
    for split in splits:
        size = None if isinstance(split, StreamSplit) else len(split)
        digest.update(f"{size} {split.input_shape};".encode())
        device, count = torch.device("cpu"), _NUM_STORED
        if split.targets is not None:
            _add(digest, split.targets)
        if isinstance(split, TensorSplit | StoredSplit):
            device = next(tensors(split.inputs)).device
            numbers = sum(torch.Size(tensor.shape[1:]).numel() for tensor in tensors(split.inputs))
            count = _TENSOR_BYTES // (4 * max(1, numbers))
        if size is None:
            indices = torch.arange(count)
        else:
            indices = torch.linspace(0, size - 1, max(1, min(count, size))).long().to(device)
        with generators_seeded(fold_in(0, Stream.EVALUATION)):
            batch = split.batch(indices)
        for tensor in tensors(batch):
            _add(digest, tensor)
    return digest.hexdigest()


def _add(digest: hashlib.blake2b, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().tobytes())  # NumPy has no bfloat16
