"""A command line run by a test: in this process, a tenth of a second each, or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str
    left_behind: list[str]

    @property
    def line(self) -> str:
        """The one line of a refusal, which is all that was printed and all that there is to see."""
        lines = self.err.splitlines()
        assert self.code == 2, f"exit code {self.code}: {self.err}"
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert self.left_behind == []
        return lines[0].removeprefix("error: ")


Door = Callable[..., Outcome]


def files(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"} | environment,
    )
