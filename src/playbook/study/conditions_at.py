"""Where a study's file has its `conditional`, so that whoever is missing a space there knows which line to go to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def conditions_at(config_dirs: Sequence[Path], study: str) -> str:
    """`conf/study/learning_rate.yaml, below line 19`: of the file, or of the first that it takes its defaults from.

    Empty where there is none; a file that Hydra could read, and this cannot, has none.
    """
    return next((place for folder in config_dirs if (place := _place(folder, study))), "")


def _place(config_dir: Path, study: str) -> str:
    path = config_dir / "study" / f"{study}.yaml"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        parsed: Any = yaml.safe_load("\n".join(lines))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return ""
    for number, line in enumerate(lines, start=1):
        if line.startswith("conditional:") and "[" not in line:
            return f"{config_dir.name}/study/{path.name}, below line {number}"
    parents = parsed.get("defaults", []) if isinstance(parsed, dict) else []
    found = (_place(config_dir, each) for each in parents if isinstance(each, str) and each != "_self_")
    return next((each for each in found if each), "")
