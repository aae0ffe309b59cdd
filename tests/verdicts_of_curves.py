"""What the curves' verdicts are worth: right on drawn curves with and without each fault, and no false alarm.

The thresholds were chosen on seeds below `HELD_OUT`, and these were run once they stood. That was the second such set:
on the first, from 10,000 on, one trial of rising training loss was called overfitted without doubt, which was mended.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from synthetic_curves import FAULTS, KINDS, UNCLEAR, draw

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables

HELD_OUT = 20_000
EACH = 24
"""Studies of each kind."""
Find = Callable[[Tables], list[Finding]]


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


def verdicts(find: Find, code: str) -> Iterator[Verdict]:
    for kind in KINDS:
        if code in UNCLEAR.get(kind, ()):
            continue
        for seed, tables in enumerate(studies(kind)):
            severities = {finding.severity for finding in find(tables)}
            called = bool(severities & {"advice", "problem"})
            yield Verdict(kind, seed, FAULTS.get(kind) == code, called, "problem" in severities)


def check_verdicts(find: Find, code: str) -> None:
    """The verdict is right on 95 % of the studies with and without the fault, and no clean one has a problem."""
    found = list(verdicts(find, code))
    faulty, clean = [each for each in found if each.faulty], [each for each in found if not each.faulty]
    assert len(faulty) >= 20
    assert len(clean) >= 20
    assert [each for each in clean if each.problem] == []
    right = np.mean([each.called for each in faulty]), np.mean([not each.called for each in clean])
    assert np.mean(right) >= 0.95, [each for each in found if each.called != each.faulty]
