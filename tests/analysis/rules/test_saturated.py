"""Fewer steps are proposed where nothing was gained for long."""

from dataclasses import replace

from synthetic_curves import KINDS, clear, draw, only
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import saturated, still_improving


def test_fewer_steps_are_proposed():
    shorter = clear("saturates")
    assert 0.1 < only(saturated.find(shorter)).next[0].changes["max_steps"] / shorter.max_steps < 0.7
    assert only(saturated.find(replace(shorter, max_steps=None))).next == ()


def test_an_arm_is_not_both_flat_and_improving():
    for kind in KINDS:
        for seed in range(12):
            tables = draw(kind, seed)
            assert not (saturated.find(tables) and still_improving.find(tables))


def test_verdicts_are_right():
    check_verdicts(saturated.find, "saturated")
