"""Readers of the two binary image formats: IDX (MNIST and its family) and CIFAR's records.

Both are bytes with a fixed layout: no pickle, nothing in a file can run. Sizes are checked to the byte, so a truncated
download is one line here and not a strange accuracy later.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from playbook.errors import InputError

_UNSIGNED_BYTE = 0x08  # IDX's code for its element type
_GZIP_MAGIC = b"\x1f\x8b"
_CIFAR_IMAGE = (3, 32, 32)
_CIFAR_RECORD = 1 + math.prod(_CIFAR_IMAGE)
CIFAR_RECORDS_PER_FILE = 10_000


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The unsigned bytes of an IDX file, plain or gzipped: uint8 of shape (n, *shape).

    Layout (LeCun, MNIST): two zero bytes, element type, number of dimensions, a big-endian uint32 each, the elements.
    """
    content = _read(path)
    ndim = 1 + len(shape)
    expected_magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    header = 4 + 4 * ndim
    if content[:4] != expected_magic:
        raise InputError(
            f"{path}: found magic bytes {content[:4].hex(' ')}, expected {expected_magic.hex(' ')} (IDX, bytes)"
        )
    if len(content) < header:
        raise InputError(f"{path}: found {len(content)} bytes, expected a header of {header}; fetch the file again")
    sizes = tuple(int(size) for size in np.frombuffer(content, ">u4", count=ndim, offset=4))
    if sizes[1:] != shape:
        raise InputError(f"{path}: found elements of shape {sizes[1:]}, expected {shape}")
    if len(content) != header + math.prod(sizes):
        raise InputError(
            f"{path}: found {len(content)} bytes, expected {header + math.prod(sizes)} for {sizes[0]} elements; "
            f"fetch the file again"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(sizes).copy())


def read_idx_pair(
    images: Path, labels: Path, *, image_shape: tuple[int, ...], num_classes: int
) -> tuple[Tensor, Tensor]:
    """Images (n, *image_shape) as uint8 and their labels (n,) as int64, from two IDX files."""
    pixels, classes = read_idx(images, image_shape), read_idx(labels, ()).long()
    if len(pixels) != len(classes):
        raise InputError(f"{labels}: found {len(classes)} labels, expected {len(pixels)}, one an image of {images}")
    _check_labels(labels, classes, num_classes)
    return pixels, classes


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Images (10000, 3, 32, 32) as uint8 and labels (10000,) as int64, from one of CIFAR-10's binary files.

    Layout (Krizhevsky, CIFAR-10 binary version): records of one label byte and 3,072 bytes, a channel after the other.
    """
    return _cifar_records(path, path.read_bytes())


def read_cifar_archive(archive: Path, names: list[str]) -> list[tuple[Tensor, Tensor]]:
    """`read_cifar` of the named members of the `.tar.gz`, unpacked in memory, in one pass over the archive."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name in names else None
                if file is not None:
                    found[member.name] = _cifar_records(archive / member.name, file.read())
                if len(found) == len(names):
                    break
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{archive}: found a damaged archive ({error}); fetch it again") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{archive}: found no {missing[0]}, expected CIFAR-10's binary version")
    return [found[name] for name in names]


def _cifar_records(place: Path, content: bytes) -> tuple[Tensor, Tensor]:
    expected = CIFAR_RECORDS_PER_FILE * _CIFAR_RECORD
    if len(content) != expected:
        raise InputError(
            f"{place}: found {len(content)} bytes, expected {expected} ({CIFAR_RECORDS_PER_FILE} records of "
            f"{_CIFAR_RECORD}); fetch the file again"
        )
    records = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD).copy())
    labels = records[:, 0].long()
    _check_labels(place, labels, num_classes=10)
    return records[:, 1:].reshape(-1, *_CIFAR_IMAGE), labels


def _read(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(_GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: found a damaged gzip file ({error}); fetch it again") from error


def _check_labels(path: Path, labels: Tensor, num_classes: int) -> None:
    if len(labels) == 0:
        raise InputError(f"{path}: found no labels, expected at least one")
    if int(labels.max()) >= num_classes:
        raise InputError(f"{path}: found label {int(labels.max())}, expected 0 to {num_classes - 1}")
