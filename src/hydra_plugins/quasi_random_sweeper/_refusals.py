"""What the sweep refuses besides what `playbook.study` does, and what makes a study the study that it is."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from playbook.config import difference, flatten
from playbook.errors import InputError
from playbook.lock import LOCK
from playbook.study.design import Design
from playbook.study.ledger import Ledger
from playbook.study.overrides import sweep_override
from playbook.study.space import Choice, Dimension, Float, Int, Value
from playbook.study.study_files import STUDY, StudyFile
from playbook.validation import show


def with_origin(lines: str, space: Mapping[str, Dimension]) -> str:
    """The lines of a refused trial, with the range that a number comes from which nobody typed."""
    said = []
    for line in lines.splitlines():
        dimension = space.get(line.partition("=")[0])
        if isinstance(dimension, Float | Int):
            key = line.partition("=")[0]
            line += f"; it comes from {sweep_override(key, dimension)}"
            if isinstance(dimension, Float) and "whole number" in line:
                line += f", whole numbers from int(interval({math.ceil(dimension.low)},{math.floor(dimension.high)}))"
        said.append(line)
    return "\n".join(said)


def refuse_no_url(storage: str) -> None:
    from playbook.study.optuna_mirror.database import shown_url  # SQLAlchemy is a fifth of a second

    try:
        shown_url(storage)
    except InputError as error:
        raise InputError(f"study.{error}") from None


def refuse_interpolation(line: str, swept: Dimension) -> None:
    """`warmup_steps=${eval_every},5`: what a trial was has to be known without its config."""
    if isinstance(swept, Choice) and any("${" in str(value) for value in swept.values):
        raise InputError(f"{line}: a sweep lists values, and ${{…}} is none; type its value")


def refuse_no_options(design: Design, groups: Sequence[str]) -> None:
    """`model={width:8},mlp`, `experiment=null,mine`: a group has options, by their names."""
    of_cases = (each.space for each in design.cases.values())
    of_conditions = (each.space for each in design.conditional)
    spaces = (design.scientific, design.nuisance, design.repeat, *of_cases, *of_conditions)
    given: list[tuple[str, Value]] = [pair for each in design.listed_trials for pair in each.items()]
    for key, each in (pair for space in spaces for pair in space.items()):
        given += [(key, value) for value in (each.values if isinstance(each, Choice) else (each.low, each.high))]
    for key, value in given:
        if key in groups and not isinstance(value, (str, list)):
            raise InputError(
                f"{key}={show(value)}: allowed are names of options of the group {key}; what is in one is searched as"
                f" {key}.<key>=a,b"
            )


def refuse_changed_design(folder: Path, there: Design, here: Design) -> None:
    lines = difference(_compared(there), _compared(here))
    both = min(len(there.listed_trials), len(here.listed_trials))
    if there.listed_trials[:both] != here.listed_trials[:both]:
        lines.append("trials: the list begins otherwise there")
    if lines:
        raise InputError(
            f"{folder} holds a study of another design ({'; '.join(lines)}); name another one with study.name=<name>"
        )


def refuse_foreign_folder(folder: Path, there: StudyFile | None) -> None:
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise InputError(
                f"{folder}: {path} is a file; name another study with study.name=<name>, or set output_root"
            )
    if there is None and folder.is_dir() and any(path.name not in (f"{STUDY}.tmp", LOCK) for path in folder.iterdir()):
        raise InputError(f"{folder} has files and is not a study's; name another one with study.name=<name>")


def refused_alike(ledger: Ledger, n_trials: int) -> str | None:
    """What was said, where every trial was refused for the same reason: bad input, and not a study."""
    crashes = [each.crash for each in ledger.outcomes.values() if each.crash is not None]
    said = {crash.message for crash in crashes if crash.kind == InputError.__name__}
    return said.pop() if len(crashes) == n_trials and len(said) == 1 else None


def fingerprint(design: Design) -> str:
    told_apart = _compared(design) | {
        f"trials.0.{key}": value for each in design.listed_trials[:1] for key, value in each.items()
    }
    text = json.dumps(told_apart, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _compared(design: Design) -> dict[str, Any]:
    """What makes a study the study that it is."""
    left_out = ("name", "goal", "overrides", "points", "trials")
    flat = dict(flatten({key: value for key, value in design.plain().items() if key not in left_out}))
    return {key: value for key, value in flat.items() if value not in ({}, [])}
