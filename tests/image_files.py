"""Small image files in the formats of Fashion-MNIST and CIFAR-10, with random pixels and labels 0, 1, … 9, 0, …"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

CIFAR_RECORDS = 20
"""Of each file; a test sets `formats.CIFAR_RECORDS_PER_FILE` to it."""


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_fashion(folder: Path, part: str, num_images: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    write_idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (num_images, 28, 28)))
    write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(num_images) % 10)


def write_cifar(folder: Path, name: str, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    records = np.random.default_rng(seed).integers(0, 256, (CIFAR_RECORDS, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(CIFAR_RECORDS) % 10
    (folder / name).write_bytes(records.tobytes())
