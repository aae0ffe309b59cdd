"""A fork of this checkout, made for a test, and the files that a page of the documentation puts into it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from command import ROOT

NAME = "mine"
_AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.com")


@dataclass(frozen=True)
class Fork:
    """Two repositories: `make project NAME=mine` has been said in `folder`, a clone of `upstream`."""

    folder: Path
    upstream: Path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *_AUTHOR, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def python(fork: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(fork / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=fork, env=environment, capture_output=True, text=True)


def files_of(page: Path) -> dict[str, str]:
    """The files that a page shows, by their path, which is their first line."""
    shown = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)^```", shown, re.M | re.S))


def make_fork(folder: Path, files: dict[str, str]) -> Fork:
    """A fork in `folder` with `files` of its own, by their path."""
    fork = Fork(folder / "fork", folder / "upstream")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (fork.upstream / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, fork.upstream / name)
    git(fork.upstream, "init", "-q", "-b", "main")
    git(fork.upstream, "add", "-A")
    git(fork.upstream, "commit", "-qm", "as it stands")
    git(folder, "clone", "-q", str(fork.upstream), str(fork.folder))
    made = python(fork.folder, "scripts/new_project.py", NAME)
    assert made.returncode == 0, made.stdout + made.stderr
    for name, text in files.items():
        assert not (fork.folder / name).exists(), name
        (fork.folder / name).write_text(text, encoding="utf-8")
    git(fork.folder, "add", "-A")
    git(fork.folder, "commit", "-qm", "ours")
    return fork


def edited_of_upstream(fork: Fork) -> list[str]:
    """The files of upstream's that the fork has changed or removed."""
    return git(fork.folder, "diff", "--name-only", "--diff-filter=MD", "origin/main", "HEAD").split()
