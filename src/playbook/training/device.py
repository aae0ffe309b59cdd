"""Where a trial runs, and the facts of that place that decide its last bits."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from typing import Any

import torch
from pytorch_lightning.__version__ import version as lightning_version

from playbook.errors import CrashError, InputError, one_line
from playbook.training.distributed import Rank


def choose_device(name: str, precision: str, rank: Rank) -> torch.device:
    """The device of a rank; `auto` is the fastest kind there is.

    Raises:
        InputError: this machine has no such device, or not as many.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name]:
        there = [kind for kind, is_there in available.items() if is_there]
        raise InputError(f"trainer.device={name}: this machine has none; allowed here: auto, {', '.join(there)}")
    if name == "mps" and precision == "64-true":
        raise InputError("trainer.precision=64-true: this device has no 64-bit numbers; add trainer.device=cpu")
    if rank.world_size == 1:
        return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)
    most = {"cuda": torch.cuda.device_count(), "mps": 1}.get(name, rank.num_local)
    if rank.num_local > most:
        raise InputError(f"trainer.num_devices={rank.num_local}: this machine has {most} of {name}; allowed is {most}")
    return torch.device(name, rank.local_index) if name == "cuda" else torch.device(name)


_AUTO_THREADS = torch.get_num_threads()  # before a trial of this process sets another number


def set_num_threads(num_threads: int | str, num_local: int) -> None:
    """Threads of an operation on the CPU; they change the last bits of sums, so they are set before the first one.

    `auto` is torch's choice, shared out where `num_local` processes of a machine train together.
    """
    count = max(1, _AUTO_THREADS // num_local) if num_threads == "auto" else int(num_threads)
    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def environment(device: torch.device, rank: Rank) -> dict[str, Any]:
    """What besides the config decides a trial's numbers, recorded with its result and compared when it is resumed."""
    return {
        "torch": str(torch.__version__),
        "lightning": lightning_version,
        "device": _cuda_name(device, rank) if device.type == "cuda" else device.type,
        "num_threads": torch.get_num_threads(),
        "world_size": rank.world_size,
    }


def _cuda_name(device: torch.device, rank: Rank) -> str:
    """To ask for it begins to use the device, which the process that starts the ranks must not: one that ends does."""
    if rank.world_size == 1 or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.get_device_name(device)
    return _cuda_name_from_elsewhere(str(device))


@cache
def _cuda_name_from_elsewhere(device: str) -> str:
    asked = [sys.executable, "-c", f"import torch; print(torch.cuda.get_device_name({device!r}))"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise CrashError(f"{device} does not say its name: {one_line(answer.stderr[-200:])}")
    return answer.stdout.strip()
