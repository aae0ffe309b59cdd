"""Writes the lock files: every package with its version and hashes, for every platform, none younger than a week.

`make lock`. uv resolves; what it writes is read by plain pip (`--require-hashes --no-deps`) and by `uv pip sync`.

    requirements.lock            what the template and its tests need, but torch
    requirements-torch.lock      torch of the default index, with what its CUDA build needs on Linux
    requirements-torch-cpu.lock  the `+cpu` build instead, where pip finds one here
    requirements-extras.lock     Slurm, Ray and PostgreSQL

One file for both builds will not do: of two wheels that it may take, pip takes the one whose hash the index tells.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TORCH = re.compile(r"(torch|triton)==|(nvidia|cuda)-")
"""torch and what only its CUDA build needs."""
HEAD = "# Written by `make lock`.\n"


def main() -> None:
    _run("-m", "uv", "lock", "--quiet")
    base = _blocks("--extra", "dev")
    names = {_name(block) for block in base}
    torch = [block for block in base if TORCH.match(block)]
    version = next(block.split()[0] for block in torch if _name(block) == "torch")
    _write("requirements.lock", [block for block in base if block not in torch])
    _write("requirements-torch.lock", torch)
    _write("requirements-torch-cpu.lock", _cpu_build(version))
    extras = _blocks("--all-extras", "--group", "ray-launcher")
    _write("requirements-extras.lock", [block for block in extras if _name(block) not in names])


def _run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _blocks(*choice: str) -> list[str]:
    """The locked packages that uv exports, each with its hashes."""
    how = ("--quiet", "--format", "requirements-txt", "--no-emit-project", "--no-annotate", "--no-header")
    return [block for block in re.split(r"\n(?=\S)", _run("-m", "uv", "export", *how, *choice).strip()) if block]


def _cpu_build(version: str) -> list[str]:
    """torch with the hash of the `+cpu` wheel that pip finds here; nothing where it finds none."""
    with tempfile.TemporaryDirectory() as folder:
        _run("-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, version)
        wheels = list(Path(folder).glob("torch-*+cpu-*.whl"))
        hashes = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    return [f"{version}+cpu \\\n    --hash=sha256:{digest}" for digest in hashes]


def _name(block: str) -> str:
    return re.split(r"[=\s\[]", block, maxsplit=1)[0]


def _write(name: str, blocks: list[str]) -> None:
    Path(name).write_text(HEAD + "\n".join(blocks) + "\n", encoding="utf-8")
    print(f"{name}: {len(blocks)} packages")


if __name__ == "__main__":
    main()
