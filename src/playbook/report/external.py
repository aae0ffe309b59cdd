"""The report of trials that this template did not run: two CSV files, and a YAML file with the space."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import polars as pl
import yaml
from rich.console import Console

from playbook.analysis.external import from_frames
from playbook.analysis.metrics import direction
from playbook.analysis.rejudge import By, rejudge
from playbook.analysis.rules import find_all
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.errors import InputError, one_line
from playbook.report.answer import answer
from playbook.report.commands import Commands
from playbook.report.content import Contents
from playbook.report.files import write_report
from playbook.report.freshness import REPORT
from playbook.report.terminal import show
from playbook.study.design import Design, Objective
from playbook.study.overrides import as_override, read_dimension
from playbook.study.space import Dimension

UNNAMED = "objective"
"""What the objective is called where nobody says."""
HEADERS = {"trials": "trial,lr,objective", "curves": ",".join(CURVE_COLUMNS)}


def external_report(
    trials: str | Path,
    *,
    curves: str | Path | None = None,
    space: str | Path | None = None,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
    by: By = "best",
    n_examples: int | None = None,
    out_dir: str | Path | None = None,
    runs_here: Callable[[Sequence[str]], bool] = lambda overrides: False,
    console: Console | None = None,
) -> Path:
    """Write the report of trials from anywhere, print its summary, and return the path of its page.

    `trials` is a CSV file with `trial`, the hyperparameters, and `objective` or curves, `curves` one with
    `trial,step,metric,value`, and `space` a YAML file `name: {min, max, scale}` or `name: [choices]`. `metric` names
    the objective, `mode` says whether less or more of it is better where its name does not, `n_examples` on how many
    examples it was measured where no column does. `out_dir` is `report` beside the trials unless it is given.
    `runs_here` says whether overrides are those of a trial of this template.

    Raises:
        InputError: a file is missing, cannot be read, or lacks what is needed; or `out_dir` cannot be written.
    """
    named = {"trials": trials, "curves": curves, "space": space}
    files = {name: Path(given) for name, given in named.items() if given is not None}
    for name, path in files.items():
        if not path.is_file():
            raise InputError(f"{name}={path}: there is no such file")
    if metric is None and mode is None:
        raise InputError("objective.mode: is less of the objective better, or more? add objective.mode=min or max")
    objective = Objective(metric or UNNAMED, mode or direction(metric or UNNAMED))
    tables = external_tables(files["trials"], files.get("curves"), files.get("space"), objective, by, n_examples)
    folder = files["trials"].parent / REPORT if out_dir is None else Path(out_dir)
    contents = external_contents(tables, name_of(files["trials"]), folder, runs_here)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files.values()))
    page = write_report(contents, folder, digest.hexdigest()[:16])
    show(contents, console)
    return page


def external_tables(
    trials: Path,
    curves: Path | None,
    space: Path | None,
    objective: Objective,
    by: By = "best",
    n_examples: int | None = None,
) -> Tables:
    """The tables of the files.

    Raises:
        InputError: a file cannot be read, or lacks what is needed.
    """
    evaluations = None if curves is None else _csv(curves, "curves")
    dimensions = None if space is None else _space(space)
    tables = from_frames(_csv(trials, "trials"), evaluations, dimensions, objective, n_examples)
    return rejudge(tables, objective.metric, objective.mode, by=by) if by != "best" else tables


def external_contents(
    tables: Tables, name: str, folder: Path, runs_here: Callable[[Sequence[str]], bool] = lambda overrides: False
) -> Contents:
    """What the report says.

    Where `runs_here`, there are commands, with the data and the model of the defaults.
    """
    found = tuple(find_all(tables))
    design = _design(tables, name)
    first = _settings(tables, design, 0) if design and len(tables.trials) else {}
    commands = None
    if design and first and runs_here([as_override(key, value) for key, value in first.items()]):
        commands = Commands(design, max(2, len(tables.trials)), folder)
    notes = []
    if commands is not None and any(finding.next and _is_study(finding.next) for finding in found):
        notes.append(
            "These trials were run elsewhere. The commands search the same hyperparameters with this template;"
            " add data=… and model=… to make them yours."
        )
    following = [commands.of(finding) if commands and _is_study(finding.next) else () for finding in found]
    return Contents(
        name=name,
        tables=tables,
        findings=found,
        next=following,
        answer=answer(tables, found),
        notes=notes,
        caveats=["The trials were run elsewhere: what was fixed in them, and how they were chosen, is not known here."],
    )


def name_of(trials: Path) -> str:
    """What to call a study that has no name: its file, or its folder where every file is called `trials.csv`."""
    return trials.resolve().parent.name if trials.stem == "trials" else trials.stem


def _is_study(remedies: Sequence[object]) -> bool:
    return all(getattr(remedy, "what", None) == "study" for remedy in remedies)


def _design(tables: Tables, name: str) -> Design | None:
    """The trials as a study of this template, where they are one arm."""
    if len(tables.arms) != 1 or not tables.space.get(tables.arms[0]):
        return None
    allowed = re.sub(r"[^A-Za-z0-9._=+-]+", "-", name).strip("-.") or "trials"
    return Design(name=allowed, nuisance=dict(tables.space[tables.arms[0]]))


def _settings(tables: Tables, design: Design, row: int) -> dict[str, object]:
    values = tables.trials.row(row, named=True)
    return {key: values[key] for key in design.nuisance if values[key] is not None}


def _csv(path: Path, what: str) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema_length=None)
    except pl.exceptions.NoDataError:
        raise InputError(f"{what}={path}: the file is empty; a header is needed, such as {HEADERS[what]}") from None
    except (OSError, pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what}={path}: it cannot be read as a CSV file ({said})") from None


def _space(path: Path) -> dict[str, Dimension]:
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"space={path}: it cannot be read ({one_line(error)})") from None
    if not isinstance(given, dict) or not given:
        raise InputError(f"space={path}: a mapping is needed, such as lr: {{min: 1e-5, max: 0.1, scale: log}}")
    return {str(key): read_dimension(_numbers(each), f"space.{key}") for key, each in given.items()}


def _numbers(given: object) -> object:
    """YAML reads 1e-5 as a text, since it has no point."""
    if isinstance(given, list):
        numbers = [_number(each) for each in given]
        return given if any(isinstance(each, str) for each in numbers) else numbers
    if not isinstance(given, dict):
        return given
    return {key: _number(each) if key in ("min", "max") else each for key, each in given.items()}


def _number(given: object) -> object:
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given
