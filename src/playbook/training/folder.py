"""The folder of a run: whose it is, who may write there, and where the run in it stands."""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playbook.config import Config, difference, dump_config, identity, read_config
from playbook.errors import InputError
from playbook.records import CHECKPOINTS, CONFIG, RESULT, STEPS, TABLES, Result, Table, read_result, replace_file
from playbook.training.checkpoints import SafeCheckpointIO, keep_only, step_of, verify
from playbook.training.commit import History


def finished_result(folder: Path, config: Config) -> Result | None:
    """The result of a finished trial of this config, None where there is something left to do.

    Raises:
        InputError: the folder holds something else. Nothing has been written.
    """
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(f"output_dir={folder}: this is a file; name a folder")
    if not any(folder.iterdir()):
        return None
    if not (folder / CONFIG).exists():
        raise InputError(f"output_dir={folder}: this folder has files and is not a run's; name a new one")
    if config.overwrite:
        return None
    if differences := difference(identity(read_config(folder / CONFIG)), config.identity()):
        raise InputError(
            f"output_dir={folder} holds a run of another config ({'; '.join(differences)});"
            " name another folder, or overwrite=true to start afresh"
        )
    return read_result(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes from training into it; a dead process does not keep the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"output_dir={folder}: another process is training into this folder") from None
        yield
    finally:
        os.close(descriptor)


def begin(folder: Path, config: Config) -> tuple[Path | None, History]:
    """Bring the folder to its last commit: the checkpoint to go on from, if any, and what the trial remembered there.

    What a crash left half written is removed, and rows past the commit are cut off.
    """
    checkpoints = folder / CHECKPOINTS
    if config.overwrite:
        _clear(folder)
    checkpoints.mkdir(exist_ok=True)
    if not (folder / CONFIG).exists():
        replace_file(folder / CONFIG, dump_config(config.plain()))
    resume_from, history = _last_commit(checkpoints)
    keep_only(checkpoints, checkpoints.glob("*.ckpt") if resume_from else [])
    step = step_of(resume_from) if resume_from else -1
    for name in TABLES:
        # A step's row describes the weights before its update: after `step` updates the last row is of step - 1.
        Table(folder, name).cut(step - 1 if name == STEPS else step)
    return resume_from, history


def _last_commit(checkpoints: Path) -> tuple[Path | None, History]:
    for path in sorted(checkpoints.glob("resume_*.ckpt"), key=step_of, reverse=True):
        try:
            verify(path)
        except InputError as error:
            warnings.warn(f"{error}; going on from the one before it", stacklevel=2)
            path.unlink()
        else:
            return path, History.of(SafeCheckpointIO().load_checkpoint(path)["history"])
    return None, History()


def _clear(folder: Path) -> None:
    """Delete the files of a run and no others; the result first, so that a half cleared folder counts as unfinished."""
    for name in (RESULT, *TABLES, CONFIG):
        (folder / name).unlink(missing_ok=True)
    if (folder / CHECKPOINTS).exists():
        keep_only(folder / CHECKPOINTS, [])
