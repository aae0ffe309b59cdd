"""Whether the report in a study's folder was made from what is there now: then nobody need wait for another one.

Imports nothing that takes time, since a finished study asks this each time that its command is repeated.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from playbook.run_files import EVALS, STEPS
from playbook.study.design import folder_name
from playbook.study.load import Study
from playbook.study.study_files import STUDY

PAGE = "index.html"
SUMMARY = "summary.txt"
REPORT = "report"
"""The folder within a study's."""


def is_current(study: Study) -> bool:
    """Whether the page in the study's folder, with its summary, was made from what is there now, by this code."""
    folder = study.path / REPORT
    return (folder / SUMMARY).exists() and made_from(folder / PAGE) == fingerprint(study)


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
