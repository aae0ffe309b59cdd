"""Which code a study was run with, so that it can be found again."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "optuna")


def environment(checkout: Path) -> dict[str, Any]:
    """Versions of the packages that matter, and the commit of the checkout, with whether files differ from it."""
    found: dict[str, Any] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _git(checkout, "rev-parse", "HEAD")
    if commit:
        found["commit"] = commit
        found["uncommitted_changes"] = bool(_git(checkout, "status", "--porcelain", "--untracked-files=no"))
    return found


def changed_versions(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """A sentence for each package that trains and is another one now: caveats of the study."""
    return [
        f"{name} was {there[name]} when the study began and {here[name]} later"
        for name in ("torch", "pytorch-lightning")
        if name in there and name in here and there[name] != here[name]
    ]


def _git(checkout: Path, *words: str) -> str:
    """What git says; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *words], cwd=checkout, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
