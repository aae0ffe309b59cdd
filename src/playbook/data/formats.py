"""Readers of the two binary image formats: IDX (MNIST and its family) and CIFAR's records.

Both are bytes with a fixed layout: no pickle, nothing in a file can run. Sizes are checked to the byte, so a truncated
download is one line here and not a strange accuracy later.
"""

from __future__ import annotations

import gzip
import math
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from torch import Tensor

from playbook.data.memory import bytes_of_memory
from playbook.errors import InputError

_UNSIGNED_BYTE = 0x08  # IDX's code for its element type
_BLOCK = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_CIFAR_IMAGE = (3, 32, 32)
_CIFAR_RECORD = 1 + math.prod(_CIFAR_IMAGE)
CIFAR_RECORDS_PER_FILE = 10_000


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The unsigned bytes of an IDX file, plain or gzipped: uint8 of shape (n, *shape).

    Layout (LeCun, MNIST): two zero bytes, element type, number of dimensions, a big-endian uint32 each, the elements.
    """
    ndim = 1 + len(shape)
    expected_magic = bytes([0, 0, _UNSIGNED_BYTE, ndim])
    header = 4 + 4 * ndim
    with _unpacked(path) as file:
        beginning = file.read(header)
        if beginning[:4] != expected_magic:
            file.read(_BLOCK)  # a packed file that is damaged says so
            raise InputError(
                f"{path}: found magic bytes {beginning[:4].hex(' ')}, expected {expected_magic.hex(' ')} (IDX, bytes)"
            )
        if len(beginning) < header:
            raise InputError(
                f"{path}: found {len(beginning)} bytes, expected a header of {header}; fetch the file again"
            )
        sizes = tuple(int(size) for size in np.frombuffer(beginning, ">u4", count=ndim, offset=4))
        if sizes[1:] != shape:
            raise InputError(f"{path}: found elements of shape {sizes[1:]}, expected {shape}")
        content = _all_of(path, file, math.prod(sizes), f"for {sizes[0]} elements", header)
    return torch.from_numpy(np.frombuffer(content, np.uint8).reshape(sizes).copy())


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
    with path.open("rb") as file:
        return _cifar_records(path, file)


def read_cifar_archive(archive: Path, names: list[str]) -> list[tuple[Tensor, Tensor]]:
    """`read_cifar` of the named members of the `.tar.gz`, unpacked in memory, in one pass over the archive."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.name in names else None
                if file is not None:
                    found[member.name] = _cifar_records(archive / member.name, file)
                if len(found) == len(names):
                    break
    except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{archive}: found a damaged archive ({error}); fetch it again") from error
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{archive}: found no {missing[0]}, expected CIFAR-10's binary version")
    return [found[name] for name in names]


def _cifar_records(place: Path, file: IO[bytes]) -> tuple[Tensor, Tensor]:
    expected = CIFAR_RECORDS_PER_FILE * _CIFAR_RECORD
    content = _all_of(place, file, expected, f"({CIFAR_RECORDS_PER_FILE} records of {_CIFAR_RECORD})")
    records = torch.from_numpy(np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD).copy())
    labels = records[:, 0].long()
    _check_labels(place, labels, num_classes=10)
    return records[:, 1:].reshape(-1, *_CIFAR_IMAGE), labels


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The file, of which no more is unpacked than is read."""
    with path.open("rb") as plain:
        packed = plain.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        plain.seek(0)
        try:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=plain)) if packed else plain
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(f"{path}: found a damaged gzip file ({error}); fetch it again") from error


def _all_of(place: Path, file: IO[bytes], size: int, of_what: str, header: int = 0) -> bytes:
    """The `size` bytes that a file has after its header, and no more: a small one may unpack to more than memory."""
    if 2 * size > (memory := bytes_of_memory()):
        raise InputError(
            f"{place}: found a header that says {size / 1e9:.1f} GB, which do not fit twice into {memory / 1e9:.1f} GB"
        )
    content = file.read(size + 1)  # the one byte more is the end of the file, where a checksum is compared
    if len(content) != size:
        more = " or more" if len(content) > size else ""
        raise InputError(
            f"{place}: found {header + len(content)} bytes{more}, expected {header + size} {of_what};"
            " fetch the file again"
        )
    return content


def _check_labels(path: Path, labels: Tensor, num_classes: int) -> None:
    if len(labels) == 0:
        raise InputError(f"{path}: found no labels, expected at least one")
    if int(labels.max()) >= num_classes:
        raise InputError(f"{path}: found label {int(labels.max())}, expected 0 to {num_classes - 1}")
