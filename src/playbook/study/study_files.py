"""The files of a study, and what has become of each of its trials.

    study.yaml        the design: goal, space, roles, seed, objective, what is fixed; written when the study begins
    trial_00007/      the files of a run, and `crash_1.txt`, … of attempts that crashed
    trials.csv        a row a trial that has ended
    optuna.db         the same trials for Optuna's tools

The trials' own folders are the truth. The two tables are made from them and can be made again.
"""

from __future__ import annotations

import csv
import io
import json
import math
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import yaml
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from playbook.errors import InputError, one_line
from playbook.run_files import CONFIG, CRASHES, PAUSED, RESULT, Result, read_paused, read_result, replace_file
from playbook.study.design import LARGEST_STUDY, Design, Trial
from playbook.study.overrides import refuse_contradictions
from playbook.study.rungs import PROMOTE, refuse_no_rungs
from playbook.study.space import Value
from playbook.validation import STRICT, show, validate

STUDY = "study.yaml"
TRIALS = "trials.csv"
DATABASE = "optuna.db"
VERDICT = "verdict.json"
"""What a procedure has concluded from the trials: its `verdict`, its `answer` in words, what was `adopted`, if
something was, its `command` and its `page`."""
_RESULT = TypeAdapter(Result)
TRIAL_COLUMNS = ("trial", "arm", "status", "objective", "best_step", "seed", "objective_se", "n_examples")


@dataclass(frozen=True)
class StudyFile:
    """What `study.yaml` holds: the design, the target number of trials, and where and when it was made.

    `rungs` are the shares of their steps at which trials rest, but for the share `promote` of them.
    `budget_hours` is what its trials may take together, None without a limit; `budget` is the number of trials that the
    space was chosen for, and `study_key` where the program's command line has the keys of a study.
    """

    design: Design
    n_trials: int
    budget: int
    created: str
    command: str
    environment: Mapping[str, Any]
    caveats: tuple[str, ...] = ()
    study_key: str = "study"
    budget_hours: float | None = None
    rungs: tuple[float, ...] = ()
    promote: float = PROMOTE


@dataclass(frozen=True)
class Crash:
    """The last attempt of a trial that ended in an exception, or without a word."""

    attempts: int
    kind: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or how far it is that has paused. A crashed one has no result."""

    trial: Trial
    status: Literal["complete", "infeasible", "paused", "crashed"]
    result: Result | None = None
    crash: Crash | None = None
    paused: Result | None = None


def write_study(folder: Path, study: StudyFile) -> None:
    """Write `study.yaml`, whole or not at all."""
    plain = study.design.plain() | {
        "n_trials": study.n_trials,
        "budget_hours": study.budget_hours,
        **({"rungs": list(study.rungs), "promote": study.promote} if study.rungs else {}),
        "budget": study.budget,
        "created": study.created,
        "command": study.command,
        "environment": dict(study.environment),
        "caveats": list(study.caveats),
        "study_key": study.study_key,
    }
    replace_file(folder / STUDY, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120))


class _ObjectiveBlock(BaseModel):
    model_config = STRICT

    metric: str
    mode: Literal["min", "max"]


class _ConditionalBlock(BaseModel):
    model_config = STRICT

    when: dict[str, list[Any]]
    space: dict[str, Any]


class _ToldBlock(BaseModel):
    model_config = STRICT

    trial: NonNegativeInt
    settings: dict[str, Any]
    objective: float | None


class _BayesianBlock(BaseModel):
    model_config = STRICT

    start: str
    told: list[_ToldBlock]
    num_quasi_random: NonNegativeInt
    proposed: list[dict[str, Any]]


class _StudyBlock(BaseModel):
    """The kinds of what `study.yaml` holds, which a hand may have been at; `Design` looks at what it means."""

    model_config = STRICT

    name: str
    goal: str
    follows: str | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    points: str = "per_arm"
    objective: _ObjectiveBlock
    scientific: dict[str, Any]
    cases: dict[str, dict[str, Any]] = {}
    nuisance: dict[str, Any]
    conditional: list[_ConditionalBlock]
    repeat: dict[str, list[Any]]
    trials: list[dict[str, Any]]
    overrides: list[str]
    fixed: dict[str, Any]
    fixed_in: dict[str, dict[str, Any]]
    bayesian: _BayesianBlock | None = None
    n_trials: Annotated[int, Field(ge=1, le=LARGEST_STUDY)]
    budget_hours: Annotated[float, Field(gt=0)] | None = None
    rungs: list[float] = []
    promote: Annotated[float, Field(gt=0, le=1)] = PROMOTE
    budget: PositiveInt
    created: str
    command: str
    environment: dict[str, Any]
    caveats: list[str]
    study_key: str = "study"


def read_study(folder: Path) -> StudyFile | None:
    """The study of a folder; None where there is none.

    Raises:
        InputError: its file cannot be read as a study.
    """
    path = folder / STUDY
    if not path.exists():
        return None
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(given, dict):
            raise InputError("a block of keys is needed")
        block = validate(_StudyBlock, {str(key): value for key, value in given.items()})
        design = Design.of(given)
        refuse_contradictions(design)
        refuse_no_rungs(block.rungs)
        if design.size is not None and block.n_trials > design.size:
            raise InputError(f"n_trials={block.n_trials}: the space has {design.size} different trials")
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError, InputError) as error:
        said = one_line(error) if isinstance(error, InputError) else one_line(f"{type(error).__name__}: {error}")
        raise InputError(
            f"{path} cannot be read as a study ({said}); mend it, or name another study with study.name=<name>"
        ) from None
    return StudyFile(
        design=design,
        n_trials=block.n_trials,
        budget=block.budget,
        created=block.created,
        command=block.command,
        environment=block.environment,
        caveats=tuple(block.caveats),
        study_key=block.study_key,
        budget_hours=block.budget_hours,
        rungs=tuple(block.rungs),
        promote=block.promote,
    )


def outcome(folder: Path, trial: Trial) -> Outcome | None:
    """How a trial of the study in `folder` ended; None while it has not.

    Raises:
        InputError: its `result.json` is damaged, or nothing says which trial the result is of.
    """
    own = folder / trial.folder
    try:
        result = read_result(own)
        if result is not None and (fault := fault_in(result)):
            raise InputError(f"{own / RESULT} is not a result ({fault})")
        if result is not None and result.tables is not None and not (own / CONFIG).exists():  # which other apps lack
            raise InputError(f"{own / CONFIG} is missing, and with it which trial this is")
    except (InputError, OSError) as error:
        said = str(error).removesuffix("; overwrite=true runs the trial again")  # which is for a run on its own
        raise InputError(f"{said}; remove {own} to have the trial run again") from None
    if result is not None:
        return Outcome(trial, result.status, result=result)
    crash = last_crash(own)
    if (paused := read_paused(own)) is not None and (crash is None or _crashed_before(own)):
        return Outcome(trial, "paused", paused=paused)
    return None if crash is None else Outcome(trial, "crashed", crash=crash)


def _crashed_before(own: Path) -> bool:
    """Whether the last crash is older than the pause."""
    return max(path.stat().st_mtime_ns for path in own.glob(CRASHES)) <= (own / PAUSED).stat().st_mtime_ns


def fault_in(result: Result) -> str:
    """What a file that anybody may have written does not say as a study asks of it; empty where all is well."""
    try:
        _RESULT.validate_json(json.dumps(asdict(result)), strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, fault['loc']))}: {show(fault['input'])[:100]}"
    if result.status == "complete" and not (result.objective is not None and math.isfinite(result.objective)):
        return f"status complete, objective {show(result.objective)}"
    return ""


def outcomes(folder: Path, trials: Iterable[Trial]) -> list[Outcome]:
    """Those of `trials` that have ended, in their order."""
    found = (outcome(folder, trial) for trial in trials)
    return [each for each in found if each is not None]


def record_crash(own: Path, error: BaseException | str) -> None:
    """Keep the traceback of an attempt in the trial's folder; its last line says what happened."""
    if isinstance(error, InputError):  # the line says it all
        text = "InputError: " + one_line(error)
    elif isinstance(error, BaseException):
        text = "".join(traceback.format_exception(error)).rstrip()
        if "\n" in str(error).strip():  # as those of CUDA and of Hydra have, whose last line is not what happened
            text += f"\n\n{type(error).__name__}: {one_line(error)}"
    else:
        text = error
    own.mkdir(parents=True, exist_ok=True)
    number = 1 + sum(1 for _ in own.glob(CRASHES))
    path = own / CRASHES.replace("*", str(number))
    try:
        replace_file(path, text + "\n")
    except OSError:  # on a full disk nothing of it may stay, as the trial would take it for somebody else's file
        path.with_name(f"{path.name}.tmp").unlink(missing_ok=True)
        raise


def last_crash(own: Path) -> Crash | None:
    """The last recorded crash of a trial's folder."""
    paths = [path for path in own.glob(CRASHES) if path.is_file()] if own.is_dir() else []
    if not paths:
        return None
    last = max(paths, key=lambda path: (len(path.name), path.name))
    lines = last.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no traceback"]
    kind, _, message = lines[-1].partition(": ")
    return Crash(len(paths), kind.rpartition(".")[2], message or lines[-1])


def write_trials(folder: Path, design: Design, ended: Iterable[Outcome]) -> None:
    """Write `trials.csv`, whole or not at all."""
    replace_file(folder / TRIALS, trials_text(design, ended))


def trials_text(design: Design, ended: Iterable[Outcome]) -> str:
    """What `trials.csv` says of the trials that have ended."""
    keys = columns(design)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*TRIAL_COLUMNS, *keys])
    for each in ended:
        result = each.result
        seed = result.seed if result else design.seed_of(each.trial)
        own = (
            each.trial.number,
            each.trial.arm,
            each.status,
            result.objective if result else None,
            result.best_step if result else None,
            seed,
            result.objective_se if result else None,
            result.n_examples if result else None,
        )
        settings = each.trial.settings
        writer.writerow(
            ["" if value is None else cell(value) for value in own]
            + [cell(settings[key]) if key in settings else "" for key in keys]
        )
    return text.getvalue()


def read_trials(folder: Path) -> pl.DataFrame:
    """`trials.csv`; the hyperparameters are texts, since a column may hold values of several types."""
    path = folder / TRIALS
    known = {"trial": pl.Int64, "objective": pl.Float64, "best_step": pl.Int64, "seed": pl.Int64}
    later = {"objective_se": pl.Float64, "n_examples": pl.Int64}  # which files of before do not have
    try:
        table = pl.read_csv(path, infer_schema=False)
        table = table.with_columns(pl.lit(None, pl.String).alias(name) for name in later if name not in table.columns)
        return table.with_columns(pl.col(name).cast(kind) for name, kind in (known | later).items())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read as a table of trials ({one_line(error)})") from None


def columns(design: Design) -> list[str]:
    """The hyperparameter columns of `trials.csv`."""
    return [key for key in design.parameters if key not in TRIAL_COLUMNS]


def cell(value: Value) -> str:
    """A value in a table: numbers and texts as they are, `null`, `true` and `false`, and JSON for the rest."""
    return value if isinstance(value, str) else json.dumps(value)
