"""How often a test set was looked at, and at which models: a line a look in a file that only grows (B12).

The file is named by what the examples are, so that another split of the same data, or the same under another name, is
counted as what it is. It is written before anybody sees the number.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from playbook.errors import InputError

FOLDER = "test_looks"


@dataclass(frozen=True)
class Look:
    """One: `model` is the fingerprint of the weights that were judged."""

    run: str
    step: int
    model: str
    metric: str
    value: float
    at: str = ""


def looks_at(output_root: str, test_set: str) -> list[Look]:
    """All that were taken of the test set with this fingerprint, the first first; a line that is cut is one too."""
    path = _path(output_root, test_set)
    if not path.exists():
        return []
    return list(_read(path))


def record_look(output_root: str, test_set: str, look: Look) -> None:
    """Add one, and have it on the disk on return.

    Raises:
        InputError: it cannot be written; nobody has seen the number then.
    """
    path = _path(output_root, test_set)
    line = json.dumps({**asdict(look), "at": datetime.now(UTC).isoformat(timespec="seconds")}) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode())  # whole: two processes may write at a time
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(f"{path}: the look at the test split cannot be recorded ({error.strerror})") from None


def _path(output_root: str, test_set: str) -> Path:
    return Path(output_root) / FOLDER / f"{test_set}.jsonl"


def _read(path: Path) -> Iterator[Look]:
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        try:
            yield Look(**json.loads(line))
        except (ValueError, TypeError):
            yield Look("unknown", 0, f"unreadable line {number + 1}", "", 0.0)
