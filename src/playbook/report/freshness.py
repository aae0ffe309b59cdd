"""Whether a report was made from what is there now: then nobody need wait for another one.

Imports nothing that takes time, since a finished study asks this each time that its command is repeated.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from playbook.run_files import EVALS, STEPS
from playbook.study.design import folder_name
from playbook.study.load import StudyRecord
from playbook.study.study_files import STUDY

PAGE = "index.html"
SUMMARY = "summary.txt"
FINDINGS = "findings.json"
WRITTEN = "files.txt"
"""The names of the other files, a line each."""
CHARTS, STUDY_FILES = "*.svg", "study/*.yaml"
REPORT = "report"
"""The folder within a study's."""


def is_current(study: StudyRecord, folder: Path | None = None) -> bool:
    """Whether the report in the folder (the study's own) is whole, and made from what is there now by this code."""
    folder = folder or study.path / REPORT
    names = _names(folder)
    return (
        SUMMARY in names
        and all((folder / name).exists() for name in names)
        and (made_from(folder / PAGE) == fingerprint(study))
    )


def written(folder: Path, *patterns: str) -> list[Path]:
    """The charts and study files (or those of a pattern) that the last report wrote into a folder."""
    names = set(_names(folder))
    paths = [path for pattern in patterns or (CHARTS, STUDY_FILES) for path in sorted(folder.glob(pattern))]
    return [path for path in paths if path.relative_to(folder).as_posix() in names]


def _names(folder: Path) -> list[str]:
    path = folder / WRITTEN
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def fingerprint(study: StudyRecord) -> str:
    """A hash of what a report is made from: the design, how each trial ended, how much it recorded, and this code."""
    digest = hashlib.sha256()
    for path in [*code_files(), study.path / STUDY]:
        digest.update(path.read_bytes())
    for outcome in study.outcomes:
        folder = study.path / folder_name(outcome.trial.number)
        sizes = [(folder / name).stat().st_size if (folder / name).exists() else 0 for name in (EVALS, STEPS)]
        digest.update(repr((outcome.trial.number, outcome.result, outcome.crash, outcome.paused, sizes)).encode())
    return digest.hexdigest()[:16]


def made_from(page: Path) -> str | None:
    """The fingerprint of the inputs of a page; None where there is no page."""
    if not page.exists():
        return None
    with page.open(encoding="utf-8", errors="replace") as file:
        head = file.read(2000)
    _, found, rest = head.partition('<meta name="made-from" content="')
    return rest.partition('"')[0] if found else None


def code_files() -> list[Path]:
    """The program that reads a study: a newer one makes a new report."""
    root = Path(__file__).parents[1]
    paths = [path for room in ("analysis", "report", "study") for path in (root / room).rglob("*")]
    return sorted(path for path in paths if path.suffix in (".py", ".html", ".css", ".js"))
