"""Every study under a folder, one row each: what it asked, how far it is, its best, and how to get that again (D4).

The studies' own files are read each time, so that the registry cannot be out of date; nothing has to be kept in step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import polars as pl
from pydantic import BaseModel

from playbook.errors import InputError, one_line
from playbook.run_files import CONFIG, RESULT
from playbook.study.design import folder_name
from playbook.study.ranking import ranked, setting_keys
from playbook.study.study_files import STUDY, TRIAL_COLUMNS, TRIALS, VERDICT, StudyFile, read_study, read_trials

NOTES = "notes.md"
"""What a user writes about a study, in its folder."""
REPORT = Path("report") / "index.html"
FINDINGS = Path("report") / "findings.json"


@dataclass(frozen=True)
class Entry:
    """A study in the registry; the fields are the table's columns.

    `path`, `config` (of the best trial) and `report` are paths as they were given, None where there is no such file.
    `command` runs the best trial again (of the best setting that nearest to its mean, where settings are repeated), and
    `objective` is its value of `metric`. Where the report of these trials is there, `expected` is what the best would
    have if it were trained again, with 95 % from `low` to `high`, and `alike` the number of other settings that cannot
    be told from it: all None where the noise is unknown. Of a study that a procedure ran, `verdict` is what that
    concluded and `command` the procedure's; `adopted` are the overrides that were launched, where it said so (B1).
    `follows` names the study of which it is the next round (C4).
    """

    name: str
    goal: str
    trials: int
    complete: int
    infeasible: int
    crashed: int
    metric: str
    mode: str
    objective: float | None
    best_trial: int | None
    command: str | None
    study_command: str
    code: str
    created: str
    notes: str
    path: str
    config: str | None
    report: str | None
    verdict: str | None = None
    adopted: str | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    alike: int | None = None
    follows: str | None = None


@dataclass(frozen=True)
class Registry:
    """The readable studies, newest first, and a line for each folder that is not one."""

    entries: tuple[Entry, ...]
    troubles: tuple[str, ...]

    @property
    def table(self) -> pl.DataFrame:
        """A row a study."""
        kinds = {str: pl.String, int: pl.Int64, float: pl.Float64}
        hints = get_type_hints(Entry)
        schema = {
            field.name: next(kind for python, kind in kinds.items() if hints[field.name] in (python, python | None))
            for field in fields(Entry)
        }
        return pl.DataFrame([vars(entry) for entry in self.entries], schema=schema, orient="row")


def read_registry(studies_dir: Path) -> Registry:
    """The registry of the studies in the folders of `studies_dir`; empty where there is no such folder."""
    entries, troubles = [], []
    for folder in sorted(studies_dir.iterdir()) if studies_dir.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                entries.append(_entry(folder))
            except Exception as error:  # whatever a foreign file does to us, the other studies are shown
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                line = kind + one_line(error)
                troubles.append(line if line.startswith(str(folder)) else f"{folder}: not readable as a study ({line})")
    return Registry(tuple(sorted(entries, key=lambda entry: entry.created, reverse=True)), tuple(troubles))


def _entry(folder: Path) -> Entry:
    study = read_study(folder)
    if study is None:
        raise InputError(f"{folder}: not a study ({STUDY} is missing)")
    design = study.design
    counts, best = {"complete": 0, "infeasible": 0, "crashed": 0}, None
    if (table := _trials(folder, study)) is not None:
        if missing := [name for name in TRIAL_COLUMNS if name not in table.columns]:
            raise InputError(f"{folder / TRIALS}: the column {missing[0]} is missing")
        counts |= dict(table["status"].value_counts().iter_rows())
        varied = [key for key in design.parameters if key in table.columns]
        best = ranked(table, design.objective, setting_keys(varied, design.repeat)).head(1)
    number = best["trial"].item() if best is not None and len(best) else None
    config = None if number is None else folder / folder_name(number) / CONFIG
    concluded = _verdict(folder)
    report = Path(concluded.page) if concluded else folder / REPORT
    answer = None if number is None else _answer(folder, number)
    low, high = answer.interval if answer else (None, None)
    return Entry(
        name=str(design.name),
        goal=str(design.goal),
        trials=study.n_trials,
        complete=counts["complete"],
        infeasible=counts["infeasible"],
        crashed=counts["crashed"],
        metric=str(design.objective.metric),
        mode=design.objective.mode,
        objective=best["objective"].item() if best is not None and number is not None else None,
        best_trial=number,
        command=concluded.command if concluded else None if number is None else _command(study, number, folder),
        study_command=study.command,
        code=_code(study.environment),
        created=study.created,
        notes=_notes(folder),
        path=str(folder),
        config=str(config) if config is not None and config.exists() else None,
        report=str(report) if report.exists() else None,
        verdict=concluded.answer if concluded else None,
        adopted=" ".join(concluded.adopted) if concluded and concluded.adopted is not None else None,
        expected=answer.expected if answer else None,
        low=low,
        high=high,
        alike=len(answer.set) - 1 if answer else None,
        follows=design.follows,
    )


def _trials(folder: Path, study: StudyFile) -> pl.DataFrame | None:
    """`trials.csv`, or the trials' own files where that has lost some; None where there is nothing yet."""
    table = read_trials(folder) if (folder / TRIALS).exists() else None
    ran = pl.col("status").is_in(["complete", "infeasible"])
    known = 0 if table is None or "status" not in table.columns else len(table.filter(ran))
    ended = sum(1 for _ in folder.glob(f"trial_*/{RESULT}"))
    if ended <= known:
        return table
    from playbook.study.load import StudyRecord  # Hydra

    return StudyRecord(folder, study).trials


def _command(study: StudyFile, number: int, folder: Path) -> str:
    """The command line of a trial, by the program that ran the study."""
    from playbook.study.overrides import program_of, shell_line, trial_overrides

    trials = study.design.trials(study.n_trials)
    if not 0 <= number < len(trials):
        raise InputError(f"{folder / TRIALS}: trial {number} is not among the {len(trials)} of {STUDY}")
    words = trial_overrides(study.design, trials[number].settings)
    return shell_line("python", program_of(study.command), *words)


class _Verdict(BaseModel):
    """What `VERDICT` holds."""

    verdict: str
    answer: str
    adopted: list[str] | None
    command: str
    page: str


def _verdict(folder: Path) -> _Verdict | None:
    """What a procedure has concluded from the study; None where none has run it."""
    path = folder / VERDICT
    if not path.exists():
        return None
    try:
        return _Verdict.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise InputError(f"{path}: not what a procedure has written; the procedure writes it again") from None


class _Answer(BaseModel):
    """The evidence of the finding `best`, where the noise is known."""

    trial: int
    expected: float
    interval: tuple[float, float]
    set: list[int]


def _answer(folder: Path, best: int) -> _Answer | None:
    """What the report says of the best trial; None where it was made of other trials, or says that it cannot tell."""
    path, table = folder / FINDINGS, folder / TRIALS
    if not (path.is_file() and table.is_file()) or path.stat().st_mtime_ns < table.stat().st_mtime_ns:
        return None
    try:
        said = [each["evidence"] for each in json.loads(path.read_bytes()) if each["code"] == "best"]
        found = [_Answer.model_validate(evidence) for evidence in said]
    except (OSError, ValueError, TypeError, KeyError):  # the page is made again when it is asked for
        return None
    return next((answer for answer in found if answer.trial == best), None)


def _code(environment: Mapping[str, Any]) -> str:
    """The commit, short, with a + where files differed from it."""
    commit = str(environment.get("commit", ""))[:10]
    return commit + ("+" if commit and environment.get("uncommitted_changes") else "")


def _notes(folder: Path) -> str:
    path = folder / NOTES
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""
