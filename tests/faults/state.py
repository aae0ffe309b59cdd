"""What a run left behind, as hashes: two runs with the same hashes are the same to the last bit.

Left out is only what a clock or a path says: seconds in `steps.csv`, `result.json` and checkpoints, the checksums of
tables that have seconds, and `output_dir`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from playbook.run_files import CONFIG, EVALS, EXAMPLES, PREDICTIONS, RESULT, STEPS

NOT_COMPARED = ("seconds", "output_dir", "tables")
TIMED_COLUMNS = 2
"""The last ones of `steps.csv`."""


def digest(folder: Path) -> dict[str, str]:
    """A hash of each file's content, by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return {str(path.relative_to(folder)): _hash(_content(path)) for path in files}


def overall(hashes: Mapping[str, str]) -> str:
    """One hash for a folder."""
    return _hash("\n".join(f"{name} {value}" for name, value in sorted(hashes.items())).encode())


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The files that are not the same, or only in one."""
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def left_over(folder: Path, *, keep_best: int) -> list[str]:
    """What a finished run has beside the files of the contract, and those of it that are missing."""
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    always = {CONFIG, STEPS, EVALS, PREDICTIONS, EXAMPLES, RESULT}
    faults = [f"no {name}" for name in sorted(always - names)]
    for kind, count in (("resume", 0), ("step", keep_best)):
        found = {name for name in names if name.startswith(f"checkpoints/{kind}_") and name.endswith(".ckpt")}
        if len(found) != count:
            faults.append(f"{len(found)} checkpoints of the kind {kind} and not {count}")
        names -= found
    return faults + sorted(names - always)


def _content(path: Path) -> bytes:
    if path.suffix == ".ckpt":
        return b"".join(canonical(torch.load(path, map_location="cpu", weights_only=True)))
    if path.name == STEPS:
        lines = path.read_text(encoding="utf-8").splitlines()
        return "\n".join(line.rsplit(",", TIMED_COLUMNS)[0] for line in lines).encode()
    if path.name == RESULT:
        return b"".join(canonical(json.loads(path.read_text(encoding="utf-8"))))
    if path.name == CONFIG:
        return b"".join(canonical(yaml.safe_load(path.read_text(encoding="utf-8"))))
    return path.read_bytes()


def canonical(value: Any) -> Iterator[bytes]:
    """Nested containers, numbers and tensors as bytes; floats in hexadecimal, tensors with type, shape and all bits."""
    if isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)} ".encode()
        yield value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        yield b"{"
        for key, inner in value.items():
            if key not in NOT_COMPARED:
                yield f"{key!r}: ".encode()
                yield from canonical(inner)
        yield b"}"
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield b"["
        for inner in value:
            yield from canonical(inner)
        yield b"]"
    elif isinstance(value, float):
        yield f"{value.hex()} ".encode()
    else:
        assert value is None or isinstance(value, str | bytes | int), type(value)
        yield f"{type(value).__name__} {value!r} ".encode()


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
