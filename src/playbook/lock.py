"""The lock on the folder of a run or a study: two processes never write one, and a dead one does not keep it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from playbook.errors import InputError

LOCK = ".lock"
"""A file to lock where a folder cannot be: NFS wants one that is open for writing."""
PATIENCE_SECONDS = 0.1
"""Somebody who asks whether a folder is locked holds its lock for a moment."""
_NOT_A_FOLDER = (errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOTSUP)


@contextmanager
def locked(folder: Path, held_elsewhere: str) -> Iterator[SharedLock]:
    """Makes the folder and holds its lock; what is given can be handed to processes that hold it too.

    Raises:
        InputError: another process holds it; the line is `held_elsewhere`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = _lock(folder, os.O_RDONLY)
    except BlockingIOError:
        raise InputError(held_elsewhere) from None
    except OSError as error:
        if error.errno not in _NOT_A_FOLDER:
            raise
        try:
            descriptor = _lock(folder / LOCK, os.O_WRONLY | os.O_CREAT)
        except BlockingIOError:
            raise InputError(held_elsewhere) from None
    try:
        yield SharedLock(descriptor)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def is_locked(folder: Path) -> bool:
    """Whether a process that this machine can see holds the lock of the folder; nothing is made."""
    for path, flags in ((folder, os.O_RDONLY), (folder / LOCK, os.O_RDWR)):
        try:
            os.close(_lock(path, flags, kind=fcntl.LOCK_SH, patience=0))
        except BlockingIOError:
            return True
        except OSError:  # there is none, or it cannot be locked this way
            continue
    return False


def _lock(path: Path, flags: int, kind: int = fcntl.LOCK_EX, patience: float = PATIENCE_SECONDS) -> int:
    descriptor, deadline = os.open(path, flags, 0o644), time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(PATIENCE_SECONDS / 10)
    except OSError:
        os.close(descriptor)
        raise


class SharedLock:
    """The lock as an argument of a spawned process, which then holds it for as long as it lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(descriptor)

    def __getstate__(self) -> Any:
        return DupFd(self._descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self._descriptor = duplicate.detach()
        _held.add(self._descriptor)


_held: set[int] = set()


def _let_go() -> None:
    """In a forked child. A loader's worker outlives a killed trial by seconds, in which it would keep the lock."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
