"""Reading arrays of an `.npz` file that may be damaged or hostile: what it declares is checked before it is believed.

Nothing is unpickled. An array's size is known from its header before a byte of it is unpacked, has to be the size that
the archive declares, and has to fit this machine's memory together with those read before, so that neither a zip bomb
nor a lie is unpacked.
"""

from __future__ import annotations

import hashlib
import lzma
import math
import struct
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from playbook.data.memory import bytes_of_memory
from playbook.errors import InputError, one_line

_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error)
_LONGEST_HEADER = 10_000  # numpy's own limit
_BLOCK = 1 << 24


class NpzFile:
    """The arrays of the file at `path`, each read when it is asked for.

    Every method raises `InputError`, one line with the path, for whatever is missing, damaged or too large.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sizes: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """The arrays that the file says it has."""
        return list(self._members)

    def array(self, name: str) -> NDArray[np.generic]:
        """The array `name`, of numbers or of text."""
        if name not in self._members:
            raise InputError(f"{self.path}: found the arrays {', '.join(self.names)}, expected {name} among them")
        info = self._members[name]
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as file:
                shape, fortran, dtype = _header(file)
                declared, size = info.file_size - file.tell(), math.prod(shape) * dtype.itemsize
                if size != declared or min(shape, default=0) < 0:
                    raise ValueError(f"its header says {dtype} {shape}, {size} bytes, and the archive {declared} bytes")
                together = sum((self._sizes | {name: size}).values())
                if 2 * together > (memory := bytes_of_memory()):  # as they are in the file, and as a model gets them
                    others = f" with {', '.join(self._sizes)}" if self._sizes.keys() - {name} else ""
                    raise ValueError(
                        f"its {size / 1e9:.1f} GB{others} do not fit twice into this machine's {memory / 1e9:.1f} GB of"
                        " memory: save fewer examples or a smaller type, or write a Source that reads what is needed"
                    )
                self._sizes[name] = size
                array = np.empty(math.prod(shape), dtype)
                content = array.view(np.uint8)
                done = 0
                while block := file.read(_BLOCK):  # to the end, where the checksum is compared
                    content[done : done + len(block)] = np.frombuffer(block, np.uint8)
                    done += len(block)
        except _DAMAGE as error:
            raise InputError(f"{self.path}: {name} cannot be read ({one_line(error)})") from error
        return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)

    def fingerprint(self, *names: str) -> str:
        """Of the content of those of the arrays `names` that the file has, by the checksums that the archive holds."""
        members = self._members
        content = [f"{name} {members[name].file_size} {members[name].CRC:08x};" for name in names if name in members]
        return hashlib.blake2b("".join(content).encode(), digest_size=8).hexdigest()

    @cached_property
    def _members(self) -> dict[str, zipfile.ZipInfo]:
        if not self.path.is_file():
            raise InputError(f"data.path: there is no file {self.path}; type the .npz file, relative to data.root")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        except _DAMAGE as error:
            raise InputError(f"{self.path}: not an .npz file ({one_line(error)}); write it with numpy.savez") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether the first index runs fastest, and type, of an array in numpy's format."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"numpy's format {version} is not read")
    try:
        shape, fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except Exception as error:  # it is read as a Python literal, and what is none raises whatever it likes
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not unpickled: save numbers")
    return shape, fortran, dtype
