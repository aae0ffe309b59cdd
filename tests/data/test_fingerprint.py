"""A fingerprint depends on the content of the data, and on nothing else."""

import os
import shutil

import numpy as np
import pytest
import torch

from playbook.data import (
    Arrays,
    DatasetSplit,
    Diabetes,
    Digits,
    TensorSplit,
    fingerprint_of_files,
    fingerprint_of_splits,
)

INPUTS = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(100) % 4


def changed(tensor: torch.Tensor, index: int) -> torch.Tensor:
    """The tensor with another number at `index`."""
    copy = tensor.clone()
    copy.view(-1)[index] += 1
    return copy


def test_the_embedded_data_have_the_fingerprints_of_earlier_versions():
    for in_memory in (True, False):
        digits, diabetes = Digits(in_memory=in_memory), Diabetes(in_memory=in_memory)
        assert fingerprint_of_splits(digits.load("train"), digits.load("val")) == "5426b54db1e7c8a9"
        assert fingerprint_of_splits(diabetes.load("train"), diabetes.load("val")) == "8a2a95f96ae6f823"


@pytest.mark.parametrize("index", [0, 151, 299])
def test_every_number_of_a_split_in_memory_counts(index):
    known = fingerprint_of_splits(TensorSplit(INPUTS, TARGETS))
    assert fingerprint_of_splits(TensorSplit(INPUTS.clone(), TARGETS.clone())) == known
    assert fingerprint_of_splits(TensorSplit(changed(INPUTS, index), TARGETS)) != known
    assert fingerprint_of_splits(TensorSplit(INPUTS, changed(TARGETS, index // 3))) != known


def test_the_order_of_splits_and_their_sizes_count():
    first, second = TensorSplit(INPUTS, TARGETS), TensorSplit(INPUTS[:50], TARGETS[:50])
    of_pairs = {fingerprint_of_splits(*pair) for pair in ((first, second), (second, first), (first, first))}
    assert len(of_pairs) == 3


def test_a_data_set_is_told_by_all_targets_and_a_sample_of_its_examples():
    known = fingerprint_of_splits(DatasetSplit(list(INPUTS), TARGETS))
    read = []

    class Counted(list):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    assert fingerprint_of_splits(DatasetSplit(Counted(INPUTS), TARGETS)) == known
    assert len(read) <= 33
    assert fingerprint_of_splits(DatasetSplit(list(INPUTS), changed(TARGETS, 50))) != known
    assert fingerprint_of_splits(DatasetSplit(list(INPUTS + 1), TARGETS)) != known


@pytest.mark.parametrize("size", [0, 10, (1 << 20) + 1, 3 << 20, (16 << 20) - 1])
def test_every_byte_of_a_file_of_ordinary_size_counts(tmp_path, size):
    content = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    path, other = tmp_path / "a.bin", tmp_path / "another name.bin"
    path.write_bytes(content.tobytes())
    known = fingerprint_of_files(path)
    shutil.copy(path, other)
    os.utime(other, (1, 1))
    assert fingerprint_of_files(other) == known
    for index in {0, size // 2, size - 1} if size else ():
        content[index] ^= 1
        other.write_bytes(content.tobytes())
        assert fingerprint_of_files(other) != known
        content[index] ^= 1
    other.write_bytes(content.tobytes() + b"\0")
    assert fingerprint_of_files(other) != known
    assert fingerprint_of_files(path, other) != fingerprint_of_files(other, path)


def test_a_large_file_is_told_by_its_size_its_ends_and_blocks_between(tmp_path):
    path = tmp_path / "large.bin"
    known = None
    for change in (None, 0, 100 << 20, (200 << 20) - 1, "longer"):
        with path.open("wb") as file:  # sparse: it takes no room
            file.truncate((200 << 20) + (change == "longer"))
            if isinstance(change, int):
                file.seek(change)
                file.write(b"x")
        found = fingerprint_of_files(path)
        assert known is None or found != known or change == 100 << 20
        known = known or found


def test_arrays_are_told_by_the_checksums_of_the_archive(tmp_path):
    arrays = {"inputs": INPUTS.numpy(), "targets": TARGETS.numpy()}
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays, test_inputs=np.zeros(3))
    np.savez(tmp_path / "c.npz", **arrays | {"targets": changed(TARGETS, 99).numpy()})
    first, same, other = (Arrays(str(tmp_path / f"{name}.npz")).fingerprint() for name in "abc")
    assert first == same
    assert first != other
