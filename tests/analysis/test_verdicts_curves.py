"""What the curves' verdicts are worth: right on drawn curves with and without each fault, and no false alarm.

The thresholds were chosen on seeds below `HELD_OUT`, and these were run once they stood. That was the second such set:
on the first, from 10,000 on, one trial of rising training loss was called overfitted without doubt, which was mended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl
import pytest
from synthetic_curves import FAULTS, KINDS, UNCLEAR, draw

from playbook.analysis.finding import Finding
from playbook.analysis.rules import (
    best_step,
    late_variance,
    overfitting,
    periodic,
    saturated,
    still_improving,
    train_loss_rising,
)
from playbook.analysis.tables import Tables
from playbook.study.design import ONLY_ARM, Objective

HELD_OUT = 20_000
EACH = 24
"""Studies of each kind."""
QUESTIONS: dict[str, Callable[[Tables], list[Finding]]] = {
    "overfitting": overfitting.find,
    "late_variance": late_variance.find,
    "still_improving": still_improving.find,
    "saturated": saturated.find,
    "train_loss_rising": train_loss_rising.find,
    "periodic_metric": periodic.find,
}


@dataclass(frozen=True)
class Verdict:
    kind: str
    seed: int
    faulty: bool
    called: bool
    problem: bool


@cache
def studies(kind: str) -> list[Tables]:
    return [draw(kind, HELD_OUT + seed) for seed in range(EACH)]


def verdicts(code: str) -> Iterator[Verdict]:
    for kind in KINDS:
        if code in UNCLEAR.get(kind, ()):
            continue
        for seed, tables in enumerate(studies(kind)):
            severities = {finding.severity for finding in QUESTIONS[code](tables)}
            called = bool(severities & {"advice", "problem"})
            yield Verdict(kind, seed, FAULTS.get(kind) == code, called, "problem" in severities)


@pytest.mark.parametrize("code", QUESTIONS)
def test_a_verdict_is_right(code):
    found = list(verdicts(code))
    faulty, clean = [each for each in found if each.faulty], [each for each in found if not each.faulty]
    assert len(faulty) >= 20
    assert len(clean) >= 20
    assert [each for each in clean if each.problem] == []
    right = np.mean([each.called for each in faulty]), np.mean([not each.called for each in clean])
    assert np.mean(right) >= 0.95, [each for each in found if each.called != each.faulty]


def best_steps(share: Callable[[np.random.Generator, int], np.ndarray], seed: int) -> Tables:
    """A study of 6 to 60 trials of which only the best steps are known, as shares of all steps, best trial first."""
    rng = np.random.default_rng([seed, 99])
    count = int(rng.integers(6, 61))
    steps = np.rint(np.clip(share(rng, count), 0, 1) * 2000).astype(np.int64)
    trials = pl.DataFrame(
        {
            "trial": rng.permutation(count),
            "arm": ONLY_ARM,
            "status": "complete",
            "objective": np.arange(count) * 0.01,
            "best_step": steps,
            "seed": 0,
        }
    )
    return Tables(trials, Objective("val/error"), max_steps=2000)


def better_half(share: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[..., np.ndarray]:
    """The better half of the trials as `share` says, the others anywhere."""
    return lambda rng, count: np.where(np.arange(count) < count / 2 + 3, share(rng, count), rng.uniform(0, 1, count))


SHARES: dict[str | None, Callable[[np.random.Generator, int], np.ndarray]] = {
    "best_step_early": better_half(lambda rng, count: rng.uniform(0, 0.1, count)),
    "best_step_late": better_half(lambda rng, count: rng.uniform(0.75, 1, count)),
    None: lambda rng, count: rng.uniform(0, 1, count),
}


@pytest.mark.parametrize("code", SHARES)
def test_the_best_steps_tell_whether_there_were_too_many_or_too_few(code):
    right = 0
    for seed in range(100):
        found = best_step.find(best_steps(SHARES[code], HELD_OUT + seed))
        right += [each.code for each in found] == ([code] if code else [])
        assert code or not any(each.severity == "problem" for each in found)
    assert right >= 95
