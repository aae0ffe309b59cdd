"""Where W&B shows a study: what is printed when the study is over. Nothing of W&B is imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playbook.config import read_config
from playbook.run_files import CONFIG, WANDB_ID
from playbook.study.load import StudyRecord


def wandb_address(study: StudyRecord) -> str | None:
    """Where W&B shows the study: the page of its group, or the line that sends all of its offline runs; None where no
    trial was mirrored there."""
    if (logger := logger_of_trials(study)) is None:
        return None
    for each in study.outcomes:
        known = study.path / each.trial.folder / WANDB_ID
        url = json.loads(known.read_text(encoding="utf-8")).get("url") if known.exists() else None
        if url is not None:
            return f"{url.rpartition('/runs/')[0]}/groups/{quote(logger.get('group') or study.design.name)}/workspace"
    folder = Path(logger.get("dir") or study.path) / "wandb"
    return f"offline; wandb sync {folder}/offline-run-*" if any(folder.glob("offline-run-*")) else None


def logger_of_trials(study: StudyRecord) -> Mapping[str, Any] | None:
    """The config of W&B in the last trial that was mirrored there."""
    for each in reversed(study.outcomes):
        folder = study.path / each.trial.folder
        if (folder / WANDB_ID).exists():
            block = read_config(folder / CONFIG).get("logger")
            return block if isinstance(block, Mapping) and "project" in block else None
    return None
