"""The report of a study: its tables, findings and commands, as a page, as files and in the terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from rich.console import Console

from playbook.analysis.metrics import direction
from playbook.analysis.rejudge import By, rejudge
from playbook.analysis.rules import find_all
from playbook.analysis.tables import conditions, tables_of
from playbook.report.answer import answer
from playbook.report.commands import Commands
from playbook.report.content import Contents
from playbook.report.files import write_report
from playbook.report.freshness import PAGE, REPORT, STUDY_FILES, SUMMARY, fingerprint, is_current, written
from playbook.report.terminal import show
from playbook.report.wandb_report import mirror
from playbook.study.budget import Budget
from playbook.study.design import Objective
from playbook.study.load import StudyRecord, load_record
from playbook.study.overrides import program_of
from playbook.study.plan import Plan
from playbook.study.same_data import other_data


def report(
    study_dir: str | Path,
    *,
    metric: str | None = None,
    mode: Literal["min", "max"] | None = None,
    by: By = "best",
    out_dir: str | Path | None = None,
    console: Console | None = None,
) -> Path:
    """Write the report of a study, finished or not, print its summary, and return the path of its page.

    A report that is as new as what it was made from is only printed. Trials can be judged anew, which runs nothing: by
    another `metric` of theirs (`mode` is known from its name mostly), or `by` its `"final"` instead of its best value.
    `out_dir` is the study's `report` unless it is given; that one is mirrored to W&B where the trials are.

    Raises:
        InputError: the folder holds no study, there is no such metric, or `out_dir` cannot be written.
    """
    study = load_record(study_dir)
    own = study.design.objective
    metric = metric or own.metric
    objective = Objective(metric, mode or (own.mode if metric == own.metric else direction(metric)))
    folder = study.path / REPORT if out_dir is None else Path(out_dir)
    if (objective, by) != (own, "best"):
        contents = contents_of(study, folder, objective, by)
        page = write_report(contents, folder)
    elif is_current(study, folder):
        summary = (folder / SUMMARY).read_text(encoding="utf-8").rstrip()
        (console or Console()).print(summary, markup=False, highlight=False, soft_wrap=True)
        return folder / PAGE
    else:
        contents = contents_of(study, folder)
        page = write_report(contents, folder, fingerprint(study))
        if out_dir is None:
            mirror(study, contents, page)
    show(contents, console)
    return page


def contents_of(study: StudyRecord, out_dir: Path, objective: Objective | None = None, by: By = "best") -> Contents:
    """What the report of a study says, judged by its own objective or by another one after the fact.

    `out_dir` is where study files of the commands would be.
    """
    design, own = study.design, study.design.objective
    objective = objective or own
    judged_anew = (objective, by) != (own, "best")
    tables = tables_of(study, objective.metric)
    if judged_anew:
        tables = rejudge(tables, objective.metric, objective.mode, by=by)
        design = replace(design, objective=objective)
    found = tuple(find_all(tables))

    def taken(name: str) -> bool:
        return (study.path.parent / name).exists()

    program = program_of(study.file.command)
    commands = Commands(study.design, study.file.n_trials, out_dir, program, study.file.study_key, taken, study.path)
    following = [commands.of(finding) for finding in found]
    # A study that was begun from a file of an earlier report goes on from there.
    begun = {path: path.read_text(encoding="utf-8") for path in written(out_dir, STUDY_FILES) if taken(path.stem)}
    seconds = tuple(each.result.seconds for each in study.outcomes if each.result)
    notes = []
    ended = {each.trial.number for each in study.outcomes}
    asked = [*design.trials(study.file.n_trials), *design.unknown_trials(study.file.n_trials)]
    if left := [trial for trial in asked if trial.number not in ended]:
        hours = study.file.budget_hours
        budget = None if hours is None else Budget(hours, study.outcomes)
        used_up = budget and budget.used_up(left, study.file.n_trials, study.file.study_key)
        notes.append(f"{used_up or f'{len(left)} trials have not ended yet'}; this report is about the others.")
    if design.bayesian is not None:
        notes.append(
            f"{design.bayesian.words()}: each trial was proposed from those before it. They crowd where these were"
            " good, so nothing is said here of what takes points that fill the space: the best of n, what matters,"
            " whether more would help."
        )
    if judged_anew:
        notes.append(f"Judged after the fact by the {by} value of {objective.metric} ({objective.mode}imised).")
    return Contents(
        name=design.name,
        goal=design.goal,
        tables=tables,
        findings=found,
        next=following,
        studies={**begun, **commands.files},
        answer=answer(tables, found),
        commands={each.trial.number: commands.of_trial(each.trial.settings) for each in study.outcomes},
        conditions=conditions(study),
        notes=notes,
        caveats=[line for line in (*study.file.caveats, other_data(study.outcomes)) if line],
        plan=Plan(design, study.file.n_trials, seconds).text(),
        provenance=[
            ("command", study.file.command),
            ("folder", str(study.path)),
            *((key, str(value)) for key, value in study.file.environment.items()),
        ],
        when=study.file.created[:10],
    )
