"""Where a trial runs, and the facts of that place that decide its last bits."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.__version__ import version as lightning_version

from playbook.errors import InputError


def choose_device(name: str) -> torch.device:
    """The device that `trainer.device` asks for; `auto` is the fastest kind there is.

    Raises:
        InputError: this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name]:
        there = [kind for kind, is_there in available.items() if is_there]
        raise InputError(f"trainer.device={name}: this machine has none; allowed here: auto, {', '.join(there)}")
    return torch.device(name, torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def set_num_threads(num_threads: int | str) -> None:
    """Threads of an operation on the CPU; they change the last bits of sums, so they are set before the first one."""
    if num_threads != "auto":
        torch.set_num_threads(int(num_threads))


def environment(device: torch.device) -> dict[str, Any]:
    """What besides the config decides a trial's numbers, recorded with its result and compared when it is resumed."""
    return {
        "torch": str(torch.__version__),
        "lightning": lightning_version,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_threads": torch.get_num_threads(),
        "world_size": 1,
    }
