"""Compute hours as a study's limit beside its number of trials: which trials are started next, and when none is (B4).

What counts is the sum of the trials' own seconds, however many run at once. Trials that were taken over from elsewhere
cost nothing, and of attempts that crashed nobody knows what they did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from playbook.study.design import Trial
from playbook.study.study_files import Outcome
from playbook.text import count, duration

SECONDS_AN_HOUR = 3600.0
MOST_UNKNOWN = 8
"""Trials that are started at once while nobody knows how long one takes: a cluster's queue would take hundreds."""


@dataclass(frozen=True)
class Budget:
    """`hours` of compute, and what became of the trials so far.

    `timed_seconds` is what a trial takes by a measurement before the first; None: unknown.
    """

    hours: float
    outcomes: Sequence[Outcome]
    timed_seconds: float | None = None

    @property
    def spent_seconds(self) -> float:
        """Seconds of the trials that this study trained."""
        results = (each.result for each in self.outcomes)
        return sum(result.seconds for result in results if result is not None and result.reused_from is None)

    def next_trials(self, left: Sequence[Trial], num_workers: int | None) -> Sequence[Trial]:
        """Those of the trials that are `left`, in their order, that are started now; none: the budget is used up.

        One process runs one after the other and looks again after each. Several would wait for each other, so they get
        half of what fits at a time, and no fewer than there are workers (None: unknown). Until a trial has ended it is
        one for each worker: what was timed is not yet what a trial takes.
        """
        if self.spent_seconds >= self.hours * SECONDS_AN_HOUR:
            return []
        fitting = self.num_fitting(left)
        if not self._has_ended:
            return left[: min(num_workers or 1, MOST_UNKNOWN if fitting is None else max(1, fitting))]
        assert fitting is not None, "the trials that have ended say how long one takes"
        return left[: min(fitting, 1 if num_workers == 1 else max(num_workers or 1, math.ceil(fitting / 2)))]

    def num_fitting(self, left: Sequence[Trial]) -> int | None:
        """How many of the trials that are `left` fit, one after the other; None where nobody knows how long one takes.

        A trial takes as long as those of its arm took on average, or else as all of them.
        """
        if self._seconds(None) is None:
            return None
        # Sums of decimal fractions: a trial that fits exactly fits.
        free = (self.hours * SECONDS_AN_HOUR - self.spent_seconds) * (1 + 1e-9)
        for place, trial in enumerate(left):
            free -= self._seconds(trial.arm) or 0.0
            if free < 0:
                return place
        return len(left)

    def said(self, left: Sequence[Trial]) -> str:
        """A line of the plan: `2 h of compute, 12 min used; about 9 trials fit`."""
        fitting = self.num_fitting(left)
        fits = "" if fitting is None else f"; about {fitting} of the {count(len(left), 'trial')} to go fit"
        return f"{duration(self.hours * SECONDS_AN_HOUR)} of compute, {duration(self.spent_seconds)} used{fits}"

    def used_up(self, left: Sequence[Trial], num_trials: int, study_key: str) -> str | None:
        """What is said of the trials that are `left` of `num_trials`, and what to type; None where some are started.

        `study_key` is where the command line has the keys of the study.
        """
        if not left or self.next_trials(left, 1):
            return None
        more = sum(self._seconds(trial.arm) or 0.0 for trial in left)
        enough = _rounded_up((self.spent_seconds + more) / SECONDS_AN_HOUR)
        return (
            f"{study_key}.budget_hours={self.hours:g} is used up ({duration(self.spent_seconds)} of compute):"
            f" {len(left)} of {num_trials} trials left to train; the same command with"
            f" {study_key}.budget_hours={enough:g} goes on (about {duration(more)} more)"
        )

    @property
    def _has_ended(self) -> bool:
        return bool(self._seconds_by_arm)

    @cached_property
    def _seconds_by_arm(self) -> dict[str, list[float]]:
        by_arm: dict[str, list[float]] = {}
        for each in self.outcomes:
            if each.result is not None:
                by_arm.setdefault(each.trial.arm, []).append(each.result.seconds)
        return by_arm

    def _seconds(self, arm: str | None) -> float | None:
        """What a trial takes, of an arm or of any; None: unknown."""
        of_arm = self._seconds_by_arm.get(arm) if arm is not None else None
        known = of_arm or [seconds for of_one in self._seconds_by_arm.values() for seconds in of_one]
        return fmean(known) if known else self.timed_seconds


def _rounded_up(hours: float) -> float:
    """A tenth more, since trials differ, in two digits: a budget to type."""
    unit = 10.0 ** (math.floor(math.log10(1.1 * hours)) - 1)
    return math.ceil(1.1 * hours / unit) * unit
