"""A device for each worker process of this machine.

A process that has used CUDA is deaf to a later change of CUDA_VISIBLE_DEVICES, so a worker chooses before its first
trial and keeps its device for life. What is taken is told by locks on files, one for each place on a device: the
system lets go of a dead process's locks, and two studies on one machine keep out of each other's way too.

Where there are more workers than devices they share evenly: each device gets a second one when all have their first.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

CUDA_VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


def claim_device(count: int = 1) -> str | None:
    """Have this process see one of the devices that it sees, or `count` of them, and no other from now on.

    What it sees then, as CUDA_VISIBLE_DEVICES says it; None where there are not `count` devices, and nothing changes.
    A second call gives what the first one claimed.
    """
    global _claimed
    if _claimed is None:
        devices = visible_devices()
        groups = [",".join(devices[i : i + count]) for i in range(0, len(devices) - count + 1, count)]
        if not groups:
            return None
        _claimed = _claim(groups)
        os.environ[CUDA_VISIBLE_DEVICES] = _claimed
    return _claimed


def visible_devices() -> list[str]:
    """The CUDA devices that this process can see, by index or UUID, without starting CUDA in it."""
    given = os.environ.get(CUDA_VISIBLE_DEVICES)
    if given is None:
        import torch  # it counts through NVML where it can, which leaves CUDA alone

        return [str(index) for index in range(torch.cuda.device_count())]
    names = (name.strip() for name in given.split(","))
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), names))  # CUDA stops there too


_claimed: str | None = None
_held: int | None = None
"""The open file whose lock is the claim."""


def _claim(groups: Sequence[str]) -> str:
    global _held
    folder = Path(tempfile.gettempdir()) / f"playbook-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for place in itertools.count():
        for group in groups:
            name = f"{group}-{place}".replace("/", "_")  # MIG-GPU-…/1/0
            descriptor = os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            _held = descriptor
            return group
    raise AssertionError("there is always a further place")


def _let_go() -> None:
    """In a forked child: a loader's worker outlives a killed trial by seconds, in which it would keep the place."""
    if _held is not None:
        os.close(_held)


os.register_at_fork(after_in_child=_let_go)
