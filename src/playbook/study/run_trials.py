"""Trials launched until each has a result, or has crashed too often: what became of one is read from its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playbook.errors import CrashError, InputError, one_line
from playbook.run_files import CHECKPOINTS, CRASHES
from playbook.study.design import Trial
from playbook.study.rungs import has_come_to
from playbook.study.study_files import last_crash, record_crash

Launch = Callable[[Sequence[Trial]], Sequence[BaseException | None]]
"""Runs trials to their end, in any order and at any place; what is known of each that did not return from its work."""
_DIED = "Died"
"""The kind of a crash of which nothing is known."""

NOWHERE: Mapping[int, int | None] = {}


def unfinished(folder: Path, trials: Sequence[Trial], pause_at: Mapping[int, int | None] = NOWHERE) -> list[Trial]:
    """The trials that have no result, the crashed ones too: what a study still has to run.

    One that rests at its `pause_at`, by number, or later is done for now.
    """
    return [trial for trial in trials if not has_come_to(folder / trial.folder, pause_at.get(trial.number))]


def run_missing(
    folder: Path,
    trials: Sequence[Trial],
    launch: Launch,
    *,
    retries: int,
    choose: Callable[[Sequence[Trial]], Sequence[Trial]] = lambda left: left,
    pause_at: Mapping[int, int | None] = NOWHERE,
) -> None:
    """Launch `trials` until each has a result, or has crashed `retries` times more than once.

    `choose` says which of those that are left are launched at once; it ends where that is none. `pause_at` is that of
    `unfinished`.

    A trial that was refused as bad input is not run again, nor is one that crashed twice with the same words at the
    same place: it would again. One of whose end nothing is known is, since a machine that gave up says the same of all.

    Raises:
        CrashError: the launcher itself gave up, and no trial ended in any way.
    """
    attempts: Counter[int] = Counter()
    last: dict[int, _Attempt] = {}
    certain: set[int] = set()
    remaining = unfinished(folder, trials, pause_at)
    while left := choose(remaining):
        before = {trial.number: _num_crashes(folder / trial.folder) for trial in left}
        try:
            known = launch(left)
        except Exception as error:
            news = [_num_crashes(folder / trial.folder) > before[trial.number] for trial in left]
            if len(unfinished(folder, left, pause_at)) == len(left) and not any(news):
                said = one_line(f"{type(error).__name__}: {error}")
                raise CrashError(f"{folder}: no trial could be run ({said})") from error
            known = [error] * len(left)
        for trial, death in zip(left, known, strict=True):
            own = folder / trial.folder
            if has_come_to(own, pause_at.get(trial.number)):
                continue
            if _num_crashes(own) == before[trial.number]:
                said = one_line(death) if death is not None else "nothing is known of its end"
                record_crash(own, f"{_DIED}: the process of this trial ended without a word ({said})")
            attempt = _Attempt.of(own)
            if attempt.kind == InputError.__name__ or (attempt == last.get(trial.number) and attempt.kind != _DIED):
                certain.add(trial.number)
            last[trial.number] = attempt
        attempts.update(trial.number for trial in left)
        remaining = [
            trial
            for trial in unfinished(folder, trials, pause_at)
            if attempts[trial.number] <= retries and trial.number not in certain
        ]


@dataclass(frozen=True)
class _Attempt:
    """How a trial crashed, and the commits that were there then."""

    kind: str
    message: str
    commits: frozenset[str]

    @classmethod
    def of(cls, own: Path) -> _Attempt:
        crash = last_crash(own)
        assert crash is not None
        return cls(crash.kind, crash.message, frozenset(path.name for path in (own / CHECKPOINTS).glob("*.ckpt")))


def _num_crashes(own: Path) -> int:
    return sum(1 for _ in own.glob(CRASHES))
