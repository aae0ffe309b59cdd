"""The report of a study: tables, findings, commands and charts into one folder.

    index.html      the page, one file that needs no network
    findings.json   the same findings for programs
    summary.txt     the same for a terminal of 80 columns
    *.svg           the charts
    study/*.yaml    new studies that a command line cannot say

Files are replaced whole. A report that is as new as the trials it was made from is not made again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import vl_convert
from rich.console import Console

from playbook.analysis.rejudge import rejudge
from playbook.analysis.rules import find_all
from playbook.analysis.tables import Tables, conditions, tables_of
from playbook.errors import InputError
from playbook.report.answer import answer
from playbook.report.charts.all_charts import Charts, charts
from playbook.report.commands import Commands
from playbook.report.content import Contents
from playbook.report.freshness import PAGE, REPORT, SUMMARY, fingerprint, is_current
from playbook.report.page.render import render
from playbook.report.terminal import as_text, show
from playbook.report.wandb_report import mirror
from playbook.run_files import replace_file
from playbook.study.design import Objective
from playbook.study.load import Study, load_study
from playbook.study.overrides import program_of
from playbook.study.plan import Plan

FINDINGS = "findings.json"
By = Literal["best", "final"]


def report(study_dir: Path, console: Console | None = None) -> Path:
    """Write the report of a study unless it is there, mirror it to W&B where the trials are, and print its summary.

    The path of the page.

    Raises:
        InputError: the folder holds no study.
    """
    study = load_study(study_dir)
    page = study.path / REPORT / PAGE
    contents = contents_of(study, page.parent)
    if not is_current(study):
        drawn = charts(contents.tables, contents.conditions)
        write_files(contents, drawn, page.parent, fingerprint(study))
        mirror(study, contents, drawn, page)
    show(contents, console)
    return page


def contents_of(study: Study, out_dir: Path, objective: Objective | None = None, by: By = "best") -> Contents:
    """What the report of a study says, judged by its own objective or by another one after the fact.

    `out_dir` is where study files of the commands would be.
    """
    tables = tables_of(study, None if objective is None else objective.metric)
    design = study.design
    if objective is not None or by != "best":
        wanted = objective or design.objective
        tables = rejudge(tables, wanted.metric, wanted.mode, by=by)
        design = replace(design, objective=wanted)
    found = tuple(find_all(tables))
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
    """As `write_contents`, with the charts; all is made before anything is written, and the page comes last.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = {
        **contents.studies,
        **{out_dir / name: svg for name, svg in svg_files(drawn).items()},
        out_dir / FINDINGS: json.dumps(contents.findings_as_json(), indent=2, allow_nan=False) + "\n",
        out_dir / SUMMARY: as_text(contents),
        out_dir / PAGE: render(contents, drawn, inputs),
    }
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text)
    except OSError as error:
        raise InputError(f"out_dir={out_dir}: the report cannot be written there ({error.strerror})") from None
    return out_dir / PAGE


def svg_files(drawn: Charts) -> dict[str, str]:
    """The charts as SVG, by file name."""
    datasets = drawn.datasets_of_files()
    return {f"{chart.name}.svg": vl_convert.vegalite_to_svg(chart.with_data(datasets)) for chart in drawn.charts}


def _notes(tables: Tables, left: int, objective: Objective | None, by: By) -> list[str]:
    notes = []
    if left > 0:
        notes.append(f"{left} trials have not ended yet; this report is about the others.")
    if objective is not None or by != "best":
        notes.append(
            f"Judged after the fact by the {by} value of {tables.objective.metric} ({tables.objective.mode}imised)."
        )
    return notes
