"""Checkpoint files: replaced whole or not at all, verified when read, and unable to run code.

A checkpoint is what `torch.save` writes, a zip archive, with the SHA-256 of everything before it in the archive's
comment. So a flipped bit anywhere is found (torch itself reads one without a word), the checksum cannot part from its
file, and `torch.load(path, weights_only=True)` or `unzip -z` still read it.

    step_00000400.ckpt     one of the best evaluations
    resume_00000400.ckpt   where the run goes on; the one before it is kept too, and none once the run is finished
    commit_00000400.ckpt   the same, kept for good: of the steps of `keep_commits`, from which other runs can go on
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, cast

import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO

from playbook.errors import InputError
from playbook.run_files import commit_name, sync_folder

GENERATIONS = 2
"""Checkpoints to resume from that are kept: where the newest turns out damaged, the one before it serves."""

_OUR_NAME = re.compile(r"(step|resume|commit)_\d{8,}\.ckpt")
_LABEL = b"sha256:"
_COMMENT_BYTES = len(_LABEL) + 64
_END_RECORD_BYTES = 22  # of a zip archive without a comment; its last two are the comment's length
_BLOCK_BYTES = 1 << 20


class SafeCheckpointIO(CheckpointIO):
    """How Lightning reads and writes checkpoints here, in `trainer.save_checkpoint` and `trainer.fit(ckpt_path=…)`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside the target, sync, rename."""
        target = Path(path)
        temporary = target.with_name(f"{target.name}.tmp")
        with temporary.open("wb") as file:
            seal = _Sealing(file)
            try:
                torch.save(checkpoint, cast("IO[bytes]", seal))
            except RuntimeError as error:  # torch 2.13 closes the archive that it could not write, and hides why
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
            seal.finish()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_folder(target.parent)

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify, then load plain containers and tensors, whatever the caller asks for.

        Raises:
            InputError: the file is an address, is missing, is damaged, or holds more than data.
        """
        target = local_path(path)
        verify(target)
        try:
            loaded = torch.load(target, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:  # pickle, zip and torch each have their own for a file that is none
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{target} is not a checkpoint of this program: {reason}") from error
        if not isinstance(loaded, dict):
            raise InputError(f"{target} is not a checkpoint of this program: it holds a {type(loaded).__name__}")
        return loaded

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def local_path(path: Any) -> Path:
    """The path of a file on this machine; `http://…` and other addresses are refused."""
    if "://" in str(path):
        raise InputError(f"{path}: a checkpoint is only read from a local file; download it and check where it is from")
    return Path(path)


def verify(path: Path) -> None:
    """Raises `InputError` where the file is not, to the last bit, what was written."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such checkpoint")
    digest = hashlib.sha256()
    remaining = path.stat().st_size - _COMMENT_BYTES
    with path.open("rb") as file:
        while remaining > 0 and (block := file.read(min(_BLOCK_BYTES, remaining))):
            digest.update(block)
            remaining -= len(block)
        comment = file.read()
    if comment != _LABEL + digest.hexdigest().encode():
        raise InputError(f"{path} is damaged or was not written by this program: its checksum does not match")


def is_sealed(path: Path) -> bool:
    """Whether the file says that it was written here, and so can be verified."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _COMMENT_BYTES))
        return file.read(len(_LABEL)) == _LABEL


def load_of_step(path: Path) -> dict[str, Any]:
    """The content of a checkpoint whose name says its step.

    Raises:
        InputError: as `SafeCheckpointIO.load_checkpoint`; or it is the checkpoint of another step.
    """
    content = SafeCheckpointIO().load_checkpoint(path)
    if content.get("global_step") != step_of(path):
        raise InputError(f"{path} is not the checkpoint of its name: it holds step {content.get('global_step')}")
    return content


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.stem.rpartition("_")[2])


def saved(folder: Path, kind: Literal["step", "resume", "commit"]) -> list[Path]:
    """The checkpoints of a kind, the oldest first; files of other names are not ours."""
    return sorted((path for path in folder.glob(f"{kind}_*.ckpt") if _OUR_NAME.fullmatch(path.name)), key=step_of)


def best_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of one of the best evaluations is."""
    return folder / f"step_{step:08d}.ckpt"


def commit_path(folder: Path, step: int) -> Path:
    """Where a kept commit is."""
    return folder / commit_name(step)


def resume_path(folder: Path, step: int) -> Path:
    """Where the checkpoint to go on from is."""
    return folder / f"resume_{step:08d}.ckpt"


def keep(folder: Path, best: Iterable[int], *, generations: int = GENERATIONS, newest: int | None = None) -> None:
    """Delete all checkpoints but those of the `best` steps, the kept commits and the last `generations` to resume from.

    Those past the step `newest` go, and so does what a crash left half written; files of other names stay.
    """
    commits = [path for path in saved(folder, "commit") if newest is None or step_of(path) <= newest]
    resume = [path for path in saved(folder, "resume") if newest is None or step_of(path) <= newest]
    resume = resume[max(0, len(resume) - generations) :]
    keep_only(folder, [*(best_path(folder, step) for step in best), *commits, *resume])


def keep_only(folder: Path, kept: Iterable[Path]) -> None:
    """Delete every other checkpoint of ours and what a crash left half written."""
    names = {path.name for path in kept}
    for path in folder.iterdir():
        if path.name not in names and _OUR_NAME.fullmatch(path.name.removesuffix(".tmp")):
            path.unlink()


class _Sealing:
    """A file that `torch.save` writes to; it makes room for a comment in the archive's last record, and adds it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._tail = b""

    def write(self, data: bytes | memoryview) -> int:
        held = self._tail + bytes(data)
        self._pass_on(held[:-_END_RECORD_BYTES])
        self._tail = held[-_END_RECORD_BYTES:]
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def finish(self) -> None:
        assert self._tail[-2:] == b"\0\0", "torch.save ended its archive with a comment of its own"
        self._pass_on(self._tail[:-2] + _COMMENT_BYTES.to_bytes(2, "little"))
        self._file.write(_LABEL + self._digest.hexdigest().encode())

    def _pass_on(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
