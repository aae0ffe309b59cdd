"""How a study stands while it runs, from its files alone: any shell, and any machine that sees them, can ask.

A trial that has begun and not ended runs where its folder's lock is held, which processes of other machines may not
see, or where it has just written; else it was stopped, and the study's command goes on with it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from playbook.errors import InputError, one_line
from playbook.lock import is_locked
from playbook.run_files import CONFIG, EVALS, RECORDS
from playbook.study.design import Trial
from playbook.study.ledger import Ledger
from playbook.study.study_files import STUDY, Crash, Outcome, StudyFile, read_study

LIVELY_SECONDS = 60.0
"""A trial of another machine that has written within these runs."""
TAIL_BYTES = 4096
"""More than a row of `evals.csv` has."""


@dataclass(frozen=True)
class Unfinished:
    """A trial that has begun and not ended: the step of its last evaluation, and the seconds since it last wrote."""

    trial: int
    state: Literal["running", "stopped"]
    step: int | None
    quiet_seconds: float


@dataclass(frozen=True)
class StudyStatus:
    """How a study stands: how many of its `n_trials` have ended, how, and which are on their way."""

    path: Path
    file: StudyFile
    outcomes: tuple[Outcome, ...]
    unfinished: tuple[Unfinished, ...]
    best: Outcome | None
    is_swept: bool
    """Whether a command that runs this study is alive, as far as this machine can see."""

    def count(self, status: Literal["complete", "infeasible", "paused", "crashed"]) -> int:
        """How many trials ended so."""
        return sum(each.status == status for each in self.outcomes)

    @property
    def done(self) -> int:
        """The trials that have a result, or rest at a rung."""
        return self.count("complete") + self.count("infeasible") + self.count("paused")

    @property
    def running(self) -> list[Unfinished]:
        """The trials that are being trained."""
        return [each for each in self.unfinished if each.state == "running"]

    @property
    def died(self) -> list[tuple[int, Crash]]:
        """The trials that crashed and were not trained since, with how the last attempt ended."""
        on_their_way = {each.trial for each in self.running}
        return [
            (each.trial.number, each.crash)
            for each in self.outcomes
            if each.crash is not None and each.trial.number not in on_their_way
        ]

    @property
    def state(self) -> Literal["done", "running", "stopped"]:
        """`stopped`: something is left and nobody is at it; the study's command goes on."""
        if self.done == self.file.n_trials:
            return "done"
        return "running" if self.is_swept or self.running else "stopped"

    @cached_property
    def seconds_left(self) -> float | None:
        """What the trials that are left take with as many at a time as now; None where nothing runs or has ended."""
        seconds = [each.result.seconds for each in self.outcomes if each.result and each.result.reused_from is None]
        if self.state != "running" or not seconds:
            return None
        left = self.file.n_trials - self.done - len(self.running) / 2  # those that run are half through on average
        return left * sum(seconds) / len(seconds) / max(1, len(self.running))


def read_statuses(studies_dir: Path) -> tuple[list[StudyStatus], list[str]]:
    """The studies in the folders of `studies_dir`, those that were begun last first, and a line for each folder that
    cannot be read."""
    found, troubles = [], []
    for folder in sorted(studies_dir.iterdir()) if studies_dir.is_dir() else []:
        if (folder / STUDY).exists():
            try:
                found.append(read_status(folder))
            except (InputError, OSError) as error:
                troubles.append(one_line(error))
    return sorted(found, key=lambda status: status.file.created, reverse=True), troubles


def read_status(folder: Path) -> StudyStatus:
    """How the study in `folder` stands now. Nothing is written.

    Raises:
        InputError: the folder holds no study, or one of its files is damaged.
    """
    file = read_study(folder)
    if file is None:
        raise InputError(f"{folder}: there is no study here ({STUDY} is missing)")
    trials = file.design.trials(file.n_trials)
    ledger = Ledger(folder, file.design, trials, storage=None)
    ledger.refresh()
    ended = tuple(ledger.outcomes[trial.number] for trial in trials if trial.number in ledger.outcomes)
    return StudyStatus(
        path=folder,
        file=file,
        outcomes=ended,
        unfinished=tuple(_unfinished(folder, trials, ended)),
        best=ledger.best,
        is_swept=is_locked(folder),
    )


def _unfinished(folder: Path, trials: Sequence[Trial], ended: Sequence[Outcome]) -> list[Unfinished]:
    finished = {each.trial.number for each in ended if each.status != "crashed"}
    crashed = {each.trial.number for each in ended if each.crash is not None}
    found = []
    for trial in trials:
        own = folder / trial.folder
        if trial.number in finished or not (own / CONFIG).exists():
            continue
        locked, quiet_seconds = is_locked(own), _quiet_seconds(own)
        runs = locked or (quiet_seconds < LIVELY_SECONDS and trial.number not in crashed)
        if runs or trial.number not in crashed:
            state: Literal["running", "stopped"] = "running" if runs else "stopped"
            found.append(Unfinished(trial.number, state, _last_step(own / EVALS), quiet_seconds))
    return found


def _quiet_seconds(own: Path) -> float:
    """Since one of the trial's records was written."""
    times = [(own / name).stat().st_mtime for name in (CONFIG, *RECORDS) if (own / name).exists()]
    return max(0.0, time.time() - max(times, default=0.0))


def _last_step(path: Path) -> int | None:
    """The step of the last whole row, read from the end: a table may have millions."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        rows = file.read().split(b"\n")[1:-1]  # the first may be half, and so may the last
    cell = rows[-1].partition(b",")[0] if rows else b""
    return int(cell) if cell.isdigit() else None
