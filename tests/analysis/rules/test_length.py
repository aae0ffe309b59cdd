"""No page asks for fewer steps and for more, and none calls flat what overfits."""

import itertools

import numpy as np
import pytest
from synthetic_curves import KINDS, draw

from playbook.analysis.finding import Finding
from playbook.analysis.rules import find_all
from playbook.analysis.rules.length import FEWER, MORE, consistent


def contradictions(findings: list[Finding]) -> list[tuple[str, str]]:
    """Pairs of codes that cannot both be right, on one page or in one arm."""
    pairs = []
    for one, other in itertools.permutations(findings, 2):
        same_arm = one.arm == other.arm or None in (one.arm, other.arm)
        overfits = one.code == "overfitting"
        if (one.code in MORE or overfits) and other.code in FEWER:
            pairs.append((one.code, other.code))
        if overfits and one.severity != "info" and other.code in MORE and same_arm:
            pairs.append((one.code, other.code))
    return pairs


@pytest.mark.parametrize("seed", range(40))
def test_whatever_the_rules_say_what_is_left_does_not_contradict_itself(seed):
    rng = np.random.default_rng(seed)
    codes = ["overfitting", *sorted(MORE | FEWER), "late_variance", "arms"]
    given = [
        Finding(str(rng.choice(codes)), str(rng.choice(["info", "advice", "problem"])), "B8", "…", arm=arm)
        for arm in rng.choice(["a", "b", None], 6)
    ]
    kept = consistent(given)
    assert contradictions(kept) == []
    assert [each for each in given if each in kept] == kept
    assert {each.code for each in given} - {each.code for each in kept} <= MORE | FEWER
    for each in given:  # what is left out has its reason among what is kept
        if each not in kept:
            assert contradictions([*kept, each])


@pytest.mark.parametrize("kind", KINDS)
def test_no_drawn_study_is_told_two_things(kind):
    for seed in range(4):
        assert contradictions(find_all(draw(kind, 300 + seed))) == []


def test_what_overfits_would_be_called_too_long_otherwise():
    found = [Finding(code, "advice", "B8", "…", arm="a") for code in ("overfitting", "saturated", "still_improving")]
    assert [each.code for each in consistent(found)] == ["overfitting"]
    assert consistent(found[1:]) == found[2:]
    elsewhere = [Finding("saturated", "advice", "B8", "…", arm="b"), found[2]]
    assert consistent(elsewhere) == found[2:]
