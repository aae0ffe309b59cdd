"""Checkpoint files: damage anywhere is found, nothing in them runs, and only local files are read."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from playbook.errors import InputError
from playbook.training.checkpoints import (
    SafeCheckpointIO,
    best_path,
    keep_only,
    local_path,
    resume_path,
    step_of,
    verify,
)

CONTENT: dict[str, Any] = {
    "state_dict": {"weight": torch.arange(12.0).reshape(3, 4), "steps": torch.tensor(7)},
    "hyper_parameters": {"lr": 0.1, "name": "é", "none": None, "list": [1, 2.5, True]},
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "step_00000007.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    return path


def assert_is_content(loaded: dict[str, Any]) -> None:
    assert loaded["hyper_parameters"] == CONTENT["hyper_parameters"]
    for name, tensor in CONTENT["state_dict"].items():
        torch.testing.assert_close(loaded["state_dict"][name], tensor, rtol=0, atol=0)


def test_a_checkpoint_reads_back(checkpoint: Path) -> None:
    verify(checkpoint)
    assert_is_content(SafeCheckpointIO().load_checkpoint(checkpoint))


def test_other_tools_read_it(checkpoint: Path) -> None:
    assert_is_content(torch.load(checkpoint, weights_only=True))
    with zipfile.ZipFile(checkpoint) as archive:
        assert archive.testzip() is None
        comment = archive.comment
    before_the_comment = checkpoint.read_bytes()[: -len(comment)]
    assert comment.decode() == f"sha256:{hashlib.sha256(before_the_comment).hexdigest()}"


@pytest.mark.parametrize("size", [0, 1, 100_003, 3_000_000])  # smaller and larger than the blocks that are hashed
def test_any_size_can_be_sealed(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.ckpt"
    SafeCheckpointIO().save_checkpoint({"bytes": torch.arange(size).to(torch.uint8)}, path)
    verify(path)
    loaded = SafeCheckpointIO().load_checkpoint(path)["bytes"]
    assert torch.equal(loaded, torch.arange(size).to(torch.uint8))


def test_saving_replaces_whole_and_leaves_no_temporary(checkpoint: Path) -> None:
    SafeCheckpointIO().save_checkpoint({"step": 8}, checkpoint)
    assert SafeCheckpointIO().load_checkpoint(checkpoint) == {"step": 8}
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


@pytest.mark.parametrize("broken", ["a full disk", "something that cannot be pickled"])
def test_a_save_that_fails_leaves_the_old_one(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    def disk_is_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    content: dict[str, Any] = {"step": 8}
    if broken == "a full disk":
        monkeypatch.setattr(os, "fsync", disk_is_full)
    else:
        content["hook"] = lambda: None
    with pytest.raises((OSError, AttributeError, pickle.PicklingError)):
        SafeCheckpointIO().save_checkpoint(content, checkpoint)
    assert_is_content(SafeCheckpointIO().load_checkpoint(checkpoint))


def test_a_flipped_bit_anywhere_is_found(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    draw = np.random.default_rng(0)
    drawn = draw.choice(8 * len(whole), size=300, replace=False).tolist()
    ends = [*range(16), *(8 * len(whole) - 1 - bit for bit in range(0, 8 * 100, 7))]  # the end record, the checksum
    for bit in [*drawn, *ends]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            verify(checkpoint)
        with pytest.raises(InputError, match="damaged"):
            SafeCheckpointIO().load_checkpoint(checkpoint)
    checkpoint.write_bytes(whole)
    verify(checkpoint)


def test_a_missing_end_and_an_added_one_are_found(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    ends = [whole[:length] for length in (0, 1, 22, 70, 71, 72, 93, len(whole) // 2, len(whole) - 71, len(whole) - 1)]
    for damaged in [*ends, whole + b"\0", whole + b"\n", whole + whole, b"\0" + whole, whole[1:]]:
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged"):
            verify(checkpoint)


def test_messages_name_the_file_in_one_line(tmp_path: Path) -> None:
    absent, folder, text = tmp_path / "absent.ckpt", tmp_path, tmp_path / "text.ckpt"
    text.write_text("no checkpoint at all\n" * 20)
    for path in (absent, folder, text):
        with pytest.raises(InputError) as error:
            SafeCheckpointIO().load_checkpoint(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


class Payload:
    """What an attacker would put into a checkpoint: unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_the_payload_of_the_next_test_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("weights_only", [None, True, False])
def test_a_payload_never_runs_even_with_a_right_checksum(tmp_path: Path, weights_only: bool | None) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a.ckpt"
    SafeCheckpointIO().save_checkpoint({"state_dict": {}, "extra": Payload(marker)}, path)
    verify(path)
    with pytest.raises(InputError) as error:
        SafeCheckpointIO().load_checkpoint(path, weights_only=weights_only)
    assert not marker.exists()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plain_pickle_never_runs(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "a.ckpt"
    raw = pickle.dumps(Payload(marker))
    path.write_bytes(raw)
    sealed = tmp_path / "sealed.ckpt"
    sealed.write_bytes(raw + b"sha256:" + hashlib.sha256(raw).hexdigest().encode())
    for file in (path, sealed):
        with pytest.raises(InputError):
            SafeCheckpointIO().load_checkpoint(file)
    assert not marker.exists()


def test_objects_of_ours_are_no_data_either(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    SafeCheckpointIO().save_checkpoint({"model": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(InputError, match="not a checkpoint of this program"):
        SafeCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize(
    "address", ["http://example.org/a.ckpt", "https://x/a.ckpt", "s3://bucket/a", "file:///etc/passwd", "FTP://x"]
)
def test_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="local file"):
        local_path(address)
    with pytest.raises(InputError, match="local file"):
        SafeCheckpointIO().load_checkpoint(address)


def test_names_carry_their_step_and_sort_by_it(tmp_path: Path) -> None:
    steps = [0, 9, 10, 99_999_999, 100_000_000, 3_000_000_000]
    for name in (best_path, resume_path):
        paths = [name(tmp_path, step) for step in steps]
        assert [step_of(path) for path in paths] == steps
        assert sorted(random.Random(0).sample(paths, len(paths)), key=step_of) == paths
    assert best_path(tmp_path, 7).name == "step_00000007.ckpt"
    assert resume_path(tmp_path, 7).name == "resume_00000007.ckpt"


def test_keep_only_deletes_other_checkpoints_and_half_written_ones(tmp_path: Path) -> None:
    names = ["step_00000001.ckpt", "step_00000002.ckpt", "resume_00000002.ckpt", "step_00000003.ckpt.tmp", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    keep_only(tmp_path, [best_path(tmp_path, 2), tmp_path / "another" / "resume_00000002.ckpt"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notes.txt",
        "resume_00000002.ckpt",
        "step_00000002.ckpt",
    ]


def test_removing_twice_is_no_error(checkpoint: Path) -> None:
    SafeCheckpointIO().remove_checkpoint(checkpoint)
    SafeCheckpointIO().remove_checkpoint(checkpoint)
    assert not checkpoint.exists()
