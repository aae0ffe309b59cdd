"""Ending a trial half-way as a kill would, and what a run left behind: what exact resume is judged by."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from playbook.config import Config
from playbook.training import train
from playbook.training.checkpoints import SafeCheckpointIO
from playbook.training.loop import TrialLoop

PLACES = ("output_root", "output_dir", "resume", "overwrite")
"""Config keys that may differ between two runs of the same trial."""


class Killed(BaseException):
    """The process is gone: not an `Exception`, so that nothing handles it."""


def kill(config: Config, owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Train until a call of `owner.name` whose arguments satisfy `when`: that call and all after it never happen."""
    real = getattr(owner, name)

    def last(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            raise Killed
        return real(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, last)
        with pytest.raises(Killed):
            train(config, verbose=False)


def kill_at(config: Config, step: int) -> None:
    """Train `step` steps (in all) and be killed at the start of the next."""
    kill(config, TrialLoop, "on_train_batch_start", lambda module, *_: module.step == step)


def final_state(folder: Path) -> dict[str, Any]:
    """The content of every file of a run, bit for bit, places and timings (and checksums of those) aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): _content(path) for path in files}


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and time of change: equal before and after what must not touch the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def _content(path: Path) -> Any:
    if path.name == "steps.csv":
        return [line.rsplit(",", 2)[0] for line in path.read_text().splitlines()]
    if path.name == "result.json":
        return _without(json.loads(path.read_text()), "seconds", "tables")
    if path.name == "config.yaml":
        return _without(yaml.safe_load(path.read_text()), *PLACES)
    if path.suffix == ".ckpt":
        checkpoint = SafeCheckpointIO().load_checkpoint(path)
        checkpoint["history"] = _without(checkpoint["history"], "seconds", "tables")
        checkpoint["hyper_parameters"] = _without(checkpoint["hyper_parameters"], *PLACES)
        return _bits(checkpoint)
    return path.read_bytes()


def _without(plain: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in plain.items() if name not in names}


def _bits(value: Any) -> Any:
    """Tensors as their bytes, so that `==` is about bits and the sign of a zero counts."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, Mapping):
        return {name: _bits(item) for name, item in value.items()}
    return [_bits(item) for item in value] if isinstance(value, list | tuple) else value
