"""What a study refuses before anything runs: another study's folder, a changed design, trials that are not its own."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from playbook.config import difference, flatten, identity, read_config
from playbook.errors import InputError, one_line
from playbook.lock import LOCK
from playbook.run_files import CONFIG
from playbook.study.design import Design, Objective, Trial
from playbook.study.overrides import sweep_override
from playbook.study.space import Dimension, Float, Int, Value
from playbook.study.study_files import STUDY, Outcome

_COUNTER = re.compile(r"(?P<stem>.+)-(?P<count>\d{1,3})")
"""A longer number at the end of a name is no counter: an unnamed study is called by its fingerprint."""


def refuse_foreign_folder(folder: Path, has_study: bool) -> None:
    """A folder with files in it that is no study's, or no folder."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise InputError(
                f"{folder}: {path} is a file; name another study with study.name=<name>, or set output_root"
            )
    if not has_study and folder.is_dir() and any(path.name not in (f"{STUDY}.tmp", LOCK) for path in folder.iterdir()):
        raise InputError(f"{folder} has files and is not a study's; name another one with study.name=<name>")


def refuse_changed_design(folder: Path, there: Design, here: Design, instead: str) -> None:
    """A study of this name that asks something else, or holds other things fixed; `instead` is the command to type."""
    lines = difference(_compared(there), _compared(here))
    both = min(len(there.listed_trials), len(here.listed_trials))
    if there.listed_trials[:both] != here.listed_trials[:both]:
        lines.append("trials: the list begins otherwise there")
    if lines:
        raise InputError(
            f"{folder} holds a study of another design ({'; '.join(lines)}); name another one, which takes over the"
            f" trials that it shares with this one: {instead}"
        )


def next_name(name: str, is_taken: Callable[[str], bool]) -> str:
    """That of the next study: `demo-2` after `demo`, `demo-3` after `demo-2`, or the first after it that is free."""
    counter = _COUNTER.fullmatch(name)
    stem, count = (counter["stem"], int(counter["count"])) if counter else (name, 1)
    names = (f"{stem}-{number}" for number in itertools.count(count + 1))
    return next(each for each in names if not is_taken(each))


def with_name(command: str, study_key: str, name: str) -> str:
    """The command of a study, which has the keys of a study at `study_key`, for a study of another name."""
    word = f"{study_key}.name={name}"
    renamed, times = re.subn(rf"(?<!\S)(\+*){re.escape(study_key)}\.name=\S+", rf"\g<1>{word}", command)
    return renamed if times else f"{command} {'' if study_key == 'study' else '++'}{word}"


def refuse_foreign_trials(folder: Path, design: Design, trials: Iterable[Trial]) -> None:
    """Folders of trials that hold another trial: swapped, or copied from elsewhere. Their `config.yaml` says so."""
    for trial in trials:
        path = folder / trial.folder / CONFIG
        if not path.exists():
            continue
        try:
            there = identity(read_config(path))
        except InputError as error:
            said = f"{one_line(error)}; put it back, or remove {path.parent} to have the trial run again"
            raise InputError(said) from None
        asked = {**design.fixed, **fixed_with(design, trial.settings), **trial.settings}
        both = there.keys() & asked.keys()  # a group such as `optimizer` is no key of a config
        wrong = [key for key in both if there[key] != asked[key] and _as_read(there[key]) != _as_read(asked[key])]
        if wrong:
            lines = difference({key: there[key] for key in wrong}, {key: asked[key] for key in wrong})
            raise InputError(
                f"{path.parent} does not hold trial {trial.number} of this study ({'; '.join(lines)}); put back its"
                " own, or remove the folder to have the trial run again"
            )


def refuse_other_objective(folder: Path, objective: Objective, ended: Iterable[Outcome]) -> None:
    """Results of another metric than the study's file says; those of before it was recorded do not say theirs."""
    for each in ended:
        of_result = None if each.result is None else (each.result.objective_metric, each.result.objective_mode)
        if of_result and all(of_result) and of_result != (objective.metric, objective.mode):
            raise InputError(
                f"{folder / each.trial.folder} was judged by {of_result[0]} ({of_result[1]}), and {folder / STUDY} says"
                f" {objective.metric} ({objective.mode}); mend that, and have the report judge by another one with"
                " objective.metric=<metric> objective.mode=min|max"
            )


def fingerprint(design: Design) -> str:
    """Ten hexadecimal digits of a hash of what makes a study the study that it is."""
    told_apart = _compared(design) | {
        f"trials.0.{key}": value for each in design.listed_trials[:1] for key, value in each.items()
    }
    text = json.dumps(told_apart, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def with_origin(lines: str, space: Mapping[str, Dimension]) -> str:
    """The lines of a refused trial, with the range that a number comes from which nobody typed."""
    said = []
    for line in lines.splitlines():
        key = line.partition("=")[0]
        dimension = space.get(key)
        if isinstance(dimension, Float | Int):
            line += f"; it comes from {sweep_override(key, dimension)}"
            if isinstance(dimension, Float) and "whole number" in line:
                line += f", whole numbers from int(interval({math.ceil(dimension.low)},{math.floor(dimension.high)}))"
        said.append(line)
    return "\n".join(said)


def refuse_no_url(storage: str) -> None:
    """`study.storage` that no database has."""
    from playbook.study.optuna_mirror.database import shown_url  # SQLAlchemy is a fifth of a second

    try:
        shown_url(storage)
    except InputError as error:
        raise InputError(f"study.{error}") from None


def _compared(design: Design) -> dict[str, Any]:
    """What makes a study the study that it is."""
    left_out = ("name", "goal", "follows", "overrides", "points", "trials")
    plain = {key: value for key, value in design.plain().items() if key not in left_out}
    if design.bayesian is not None:  # what it was told and has proposed is what became of the study
        start = design.bayesian.start
        plain["bayesian"] = {"start": start and Path(start).resolve().name}
    flat = dict(flatten(plain))
    return {key: value for key, value in flat.items() if value not in ({}, [])}


def fixed_with(design: Design, settings: Mapping[str, Value]) -> Mapping[str, Value]:
    """What the options of groups among a trial's settings fix."""
    chosen = {f"{key}={value}" for key, value in settings.items()}
    return next((fixed for label, fixed in design.fixed_in.items() if chosen.issuperset(label.split(","))), {})


def _as_read(value: Any) -> Any:
    """A value as a file has it, which knows no tuples."""
    return json.loads(json.dumps(value, default=str))
