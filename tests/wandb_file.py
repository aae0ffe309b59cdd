"""Reads the `.wandb` file of an offline W&B run, without any of W&B's own reading code.

The file is a LevelDB log: a header of seven bytes, then blocks of 32 KiB of fragments, each with its CRC, length and
kind; a record that does not fit in a block goes on in the next. A record is a protocol buffer.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK_BYTES = 32 * 1024
_FRAGMENT = struct.Struct("<IHB")  # CRC-32 of kind and data, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """What a run sent to W&B. History rows, config and summary hold what their JSON says."""

    run: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None

    def series(self, name: str) -> dict[int, Any]:
        """`{trainer/global_step: value}` of everything that was logged under `name`."""
        rows = [row for row in self.history if name in row]
        values = {row["trainer/global_step"]: row[name] for row in rows}
        assert len(values) == len(rows), f"{name} was logged twice at a step"
        return values


def read_wandb_file(path: Path) -> OfflineRun:
    """Everything in one file."""
    found = OfflineRun()
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found.run = record.run
            found.config |= _items(record.run.config.update)
        elif kind == "config":
            found.config |= _items(record.config.update)
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "summary":
            found.summary |= _items(record.summary.update)
        elif kind == "metric":
            found.metrics[record.metric.name or record.metric.glob_name] = record.metric
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def _items(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(content: bytes) -> Iterator[bytes]:
    assert content.startswith(_HEADER), "not a .wandb file"
    position = len(_HEADER)
    parts: list[bytes] = []
    while position + _FRAGMENT.size <= len(content):
        if _BLOCK_BYTES - position % _BLOCK_BYTES < _FRAGMENT.size:  # too little room for a header: padding
            position += _BLOCK_BYTES - position % _BLOCK_BYTES
            continue
        checksum, length, kind = _FRAGMENT.unpack_from(content, position)
        position += _FRAGMENT.size
        data = content[position : position + length]
        position += length
        assert zlib.crc32(data, zlib.crc32(bytes([kind]))) == checksum, "damaged"
        assert (kind in (_FULL, _FIRST)) == (not parts), "a record began before the last ended"
        parts.append(data)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
    assert not parts, "the last record is incomplete"
