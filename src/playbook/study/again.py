"""The command line that runs a trial of a study by itself: in the terminal, the report, the registry and Optuna."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from playbook.study.design import Design
from playbook.study.grammar import word
from playbook.study.space import Value

DEFAULT_PROGRAM = "train.py"


def trial_words(design: Design, settings: Mapping[str, Value]) -> list[str]:
    """The overrides of a trial: what the study fixes by words, then its own settings."""
    return [*design.words, *(word(key, value) for key, value in settings.items())]


def program_of(command: str) -> str:
    """The program that a study was run with; `train.py` where a procedure ran it."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that does not end
        words = command.split()
    scripts = [each for each in words if each.endswith(".py")]
    return scripts[0] if scripts and Path(scripts[0]).parent.name != "scripts" else DEFAULT_PROGRAM


def shell_line(*words: str) -> str:
    """The words for a shell, with double quotes around single ones, which reads better than what shlex does."""
    return " ".join(
        f'"{each}"' if "'" in each and not set(each) & set('"$`\\!') else shlex.quote(each) for each in words
    )
