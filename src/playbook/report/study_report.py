"""The report of a study: tables, findings, commands and charts into one folder.

    index.html      the page, one file that needs no network
    findings.json   the same findings for programs
    *.svg           the charts
    study/*.yaml    new studies that a command line cannot say

Files are replaced whole. A report that is as new as the trials it was made from is not made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import vl_convert

from playbook.analysis.findings import findings
from playbook.analysis.objective import judged
from playbook.analysis.tables import Tables
from playbook.records import EVALS, STEPS, replace_file
from playbook.report.answer import answer
from playbook.report.charts import Charts, charts
from playbook.report.commands import Commands, program_of
from playbook.report.contents import Contents
from playbook.report.page import render
from playbook.report.study_tables import conditions, study_tables
from playbook.report.wandb_report import mirror
from playbook.study.design import Objective, folder_name
from playbook.study.load import Study, load_study
from playbook.study.plan import Plan
from playbook.study.store import STUDY

PAGE = "index.html"
FINDINGS = "findings.json"
REPORT = "report"
"""The folder within a study's."""
By = Literal["best", "final"]


def write(study_dir: Path) -> Path:
    """Write the report of a study into its folder, unless it is there; the path of the page.

    Raises:
        InputError: the folder holds no study.
    """
    study = load_study(study_dir)
    page = study_dir / REPORT / PAGE
    return page if is_current(study) else write_study(study, contents_of(study, page.parent))


def write_study(study: Study, contents: Contents) -> Path:
    """Write a report into its study's folder, unless it is there, and mirror it to W&B where the trials are."""
    page = study.path / REPORT / PAGE
    if not is_current(study):
        drawn = charts(contents.tables, contents.conditions)
        write_files(contents, drawn, page.parent, fingerprint(study))
        mirror(study, contents, drawn, page)
    return page


def is_current(study: Study) -> bool:
    """Whether the page in the study's folder was made from what is there now, by this code."""
    return made_from(study.path / REPORT / PAGE) == fingerprint(study)


def contents_of(study: Study, out_dir: Path, objective: Objective | None = None, by: By = "best") -> Contents:
    """What the report of a study says, judged by its own objective or by another one after the fact.

    `out_dir` is where study files of the commands would be.
    """
    tables = study_tables(study)
    design = study.design
    if objective is not None or by != "best":
        wanted = objective or design.objective
        tables = judged(tables, wanted.metric, wanted.mode, by=by)
        design = replace(design, objective=wanted)
    found = tuple(findings(tables))
    commands = Commands(
        study.design,
        study.file.n_trials,
        out_dir,
        program_of(study.file.command),
        taken=lambda name: (study.path.parent / name).exists(),
    )
    following = [commands.of(finding) for finding in found]
    seconds = tuple(each.result.seconds for each in study.outcomes if each.result)
    left = study.file.n_trials - len(study.outcomes)
    return Contents(
        name=design.name,
        goal=design.goal,
        tables=tables,
        findings=found,
        next=following,
        studies=commands.files,
        answer=answer(tables, found),
        commands={each.trial.number: commands.of_trial(each.trial.settings) for each in study.outcomes},
        conditions=conditions(study),
        notes=_notes(tables, left, objective, by),
        caveats=study.file.caveats,
        plan=Plan(design, study.file.n_trials, seconds).text(),
        provenance=[
            ("command", study.file.command),
            ("folder", str(study.path)),
            *((key, str(value)) for key, value in study.file.environment.items()),
        ],
        when=study.file.created[:10],
    )


def write_contents(contents: Contents, out_dir: Path, inputs: str = "") -> Path:
    """Write the files of a report; the path of the page. `inputs` names what it was made from."""
    return write_files(contents, charts(contents.tables, contents.conditions), out_dir, inputs)


def write_files(contents: Contents, drawn: Charts, out_dir: Path, inputs: str) -> Path:
    """As `write_contents`, with the charts; the page comes last."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for path, text in contents.studies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    for name, svg in svg_files(drawn).items():
        replace_file(out_dir / name, svg)
    replace_file(out_dir / FINDINGS, json.dumps(contents.findings_as_json(), indent=2, allow_nan=False) + "\n")
    replace_file(out_dir / PAGE, render(contents, drawn, inputs))
    return out_dir / PAGE


def svg_files(drawn: Charts) -> dict[str, str]:
    """The charts as SVG, by file name."""
    datasets = drawn.datasets_of_files()
    return {f"{chart.name}.svg": vl_convert.vegalite_to_svg(chart.with_data(datasets)) for chart in drawn.charts}


def fingerprint(study: Study) -> str:
    """A hash of what a report is made from: the design, how each trial ended, how much it recorded, and this code."""
    found = hashlib.sha256(_code())
    found.update((study.path / STUDY).read_bytes())
    for each in study.outcomes:
        folder = study.path / folder_name(each.trial.number)
        sizes = [(folder / name).stat().st_size if (folder / name).exists() else 0 for name in (EVALS, STEPS)]
        found.update(repr((each.trial.number, each.result, each.crash, sizes)).encode())
    return found.hexdigest()[:16]


def made_from(page: Path) -> str | None:
    """The fingerprint of the inputs of a page; None where there is no page."""
    if not page.exists():
        return None
    with page.open(encoding="utf-8", errors="replace") as file:
        head = file.read(2000)
    _, found, rest = head.partition('<meta name="made-from" content="')
    return rest.partition('"')[0] if found else None


def _code() -> bytes:
    """A hash of the program that reads a study: a newer one makes a new report."""
    found = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(path for room in ("analysis", "report", "study") for path in (root / room).iterdir()):
        if path.is_file():
            found.update(path.read_bytes())
    return found.digest()


def _notes(tables: Tables, left: int, objective: Objective | None, by: By) -> list[str]:
    notes = []
    if left > 0:
        notes.append(f"{left} trials have not ended yet; this report is about the others.")
    if objective is not None or by != "best":
        notes.append(
            f"Judged after the fact by the {by} value of {tables.objective.metric} ({tables.objective.mode}imised)."
        )
    return notes
