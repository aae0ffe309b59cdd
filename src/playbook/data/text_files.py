"""The bytes of text files, mapped into memory: of one file as it is, of a folder as one file that is written once."""

from __future__ import annotations

import codecs
import hashlib
import lzma
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from playbook.data.fingerprint import fingerprint_of_files
from playbook.errors import InputError, one_line

_SHIPPED = Path(__file__).with_name("embedded_files") / "paradise_lost.txt.xz"
_BLOCK = 1 << 20
_LOOKED_AT = 1 << 16  # bytes of a file that have to be UTF-8 before it is taken for a text


@dataclass(frozen=True)
class TextBytes:
    """A text as uint8 (number of bytes,). `fingerprint` is of what it says, `version` of when files changed too."""

    content: NDArray[np.uint8]
    fingerprint: str
    version: str

    def start_of_character(self, place: int) -> int:
        """The first place from `place` on where no character of several bytes goes on."""
        while place < len(self.content) and self.content[place] & 0xC0 == 0x80:
            place += 1
        return place

    def paragraphs(self, start: int, stop: int) -> Iterator[str]:
        """The text between two places, in pieces of about 1 MiB that end where a line does.

        Raises:
            InputError: the bytes are not UTF-8.
        """
        while start < stop:
            end = min(start + _BLOCK, stop)
            if end < stop:
                lines = np.flatnonzero(self.content[start:end] == ord("\n"))
                end = start + int(lines[-1]) + 1 if len(lines) else self.start_of_character(end)
            try:
                yield self.content[start:end].tobytes().decode("utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"data.path: the text is not UTF-8 at byte {start + error.start}") from error
            start = end


def shipped_text() -> TextBytes:
    """ "Paradise Lost": where it is from is in `embedded_files/README.md`."""
    content = np.frombuffer(bytearray(lzma.decompress(_SHIPPED.read_bytes())), np.uint8)
    fingerprint = hashlib.blake2b(content.tobytes(), digest_size=8).hexdigest()
    return TextBytes(content, fingerprint, version=fingerprint)


def text_of(path: Path, cache: Path) -> TextBytes:
    """The text of the file at `path`, or of all files of that folder in the order of their names, but hidden ones.

    Raises:
        InputError: there is none, or what there is cannot be read, is empty, or does not begin as UTF-8.
    """
    if not path.exists():
        raise InputError(f"data.path={path}: there is no such file or folder; type a UTF-8 text, or a folder of them")
    files = _files_in(path) if path.is_dir() else [path]
    try:
        for file in files:
            _refuse_other_than_text(file)
        fingerprint = fingerprint_of_files(*files)
        stats = [file.stat() for file in files]
        version = hashlib.blake2b(
            f"{fingerprint} {[(stat.st_size, stat.st_mtime_ns) for stat in stats]}".encode(), digest_size=8
        ).hexdigest()
        if not sum(stat.st_size for stat in stats):
            raise InputError(f"data.path={path}: found no text in it; type a UTF-8 text, or a folder of them")
        whole = files[0] if len(files) == 1 else written_once(cache / f"{version}.text", _blocks(files))
        return TextBytes(mapped(whole, np.uint8), fingerprint, version)
    except OSError as error:
        raise InputError(f"data.path={path}: it cannot be read ({one_line(error)})") from error


def written_once(path: Path, blocks: Iterable[bytes]) -> Path:
    """`path`, with the blocks as its content, written if it is not there: beside its place first, then renamed.

    Trials that run at the same time may each write it; what they write is the same.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            with beside.open("wb") as file:
                file.writelines(blocks)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def mapped(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """The numbers in a file; to write to them changes no file."""
    return np.memmap(path, dtype, mode="c") if path.stat().st_size else np.zeros(0, dtype)


def _files_in(folder: Path) -> list[Path]:
    inside = (path for path in folder.rglob("*") if path.is_file())
    visible = {
        path.relative_to(folder).as_posix(): path
        for path in inside
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    if not visible:
        raise InputError(f"data.path={folder}: the folder has no files; type a UTF-8 text, or a folder of them")
    return [visible[name] for name in sorted(visible)]


def _refuse_other_than_text(file: Path) -> None:
    with file.open("rb") as opened:
        beginning = opened.read(_LOOKED_AT)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file}: found byte {beginning[error.start]:#04x} at {error.start}, expected UTF-8"
        ) from error


def _blocks(files: list[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                yield block
