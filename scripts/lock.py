"""Writes the lock files: every package with its version and hashes, for every platform, none younger than a week.

`make lock`. uv resolves; what it writes is read by plain pip (`--require-hashes --no-deps`) and by `uv pip sync`. With
`make lock ARGS=--keep` every version that is pinned stays, and what pyproject.toml has since come to need is added.

    requirements.lock            what the template and its tests need, but torch
    requirements-torch.lock      torch of the default index, with what its CUDA build needs on Linux
    requirements-torch-cpu.lock  the `+cpu` build instead, where pip finds one here
    requirements-extras.lock     Slurm, Ray and PostgreSQL
    requirements-truth.lock      the tables of networks that `make truth` draws studies from

One file for both builds will not do: of two wheels that it may take, pip takes the one whose hash the index tells.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TORCH = re.compile(r"(torch|triton)==|(nvidia|cuda)-")
"""torch and what only its CUDA build needs."""
HEAD = "# Written by `make lock`.\n"
CPU = "requirements-torch-cpu.lock"
FILES = ("requirements.lock", "requirements-torch.lock", "requirements-extras.lock", "requirements-truth.lock")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="no pinned version moves")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        shutil.copy("README.md", project)
        text = Path("pyproject.toml").read_text(encoding="utf-8")
        (project / "pyproject.toml").write_text(_with_pins(text) if keep else text, encoding="utf-8")
        _run("-m", "uv", "lock", "--quiet", "--project", folder)
        base, extras = _blocks(project, "--extra", "dev"), _blocks(project, "--all-extras", "--group", "ray-launcher")
        truth = _blocks(project, "--extra", "dev", "--group", "truth")
    names = {_name(block) for block in base}
    torch = [block for block in base if TORCH.match(block)]
    version = next(block.split()[0] for block in torch if _name(block) == "torch")
    _write("requirements.lock", [block for block in base if block not in torch])
    _write("requirements-torch.lock", torch)
    if not keep or f"{version}+cpu " not in Path(CPU).read_text(encoding="utf-8"):
        _write(CPU, _cpu_build(version))
    _write("requirements-extras.lock", [block for block in extras if _name(block) not in names])
    _write("requirements-truth.lock", [block for block in truth if _name(block) not in names])


def _with_pins(pyproject: str) -> str:
    """The project with what is pinned as constraints of uv: versions that it may use, packages that it need not."""
    pins = re.findall(r"(?m)^[^#\s].*?==[^\\\n]*", "".join(Path(name).read_text(encoding="utf-8") for name in FILES))
    listed = "".join(f"  {pin.strip()!r},\n" for pin in pins)
    section = "[tool.uv]\n"
    return pyproject.replace(section, f"{section}constraint-dependencies = [\n{listed}]\n")


def _run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def _blocks(project: Path, *choice: str) -> list[str]:
    """The locked packages that uv exports, each with its hashes."""
    how = ["--project", str(project), "--quiet", "--format", "requirements-txt"]
    how += ["--no-emit-project", "--no-annotate", "--no-header"]
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
