"""The next space: where the set lies, what is fixed, and when nothing is said because something comes first."""

import numpy as np
import pytest
from synthetic_tables import study

from playbook.analysis.rules import SEVERITIES, find_all
from playbook.analysis.rules.refine import find
from playbook.study.space import Choice, Float

LR = Float(1e-5, 1.0, "log")


def a_valley(seed: int = 0, at: float = 0.5, num_trials: int = 200, **others):
    """lr has a valley; dropout and momentum do nothing, and dropout can be switched off."""
    space = {"lr": LR, "model.dropout": Float(0.0, 0.5), "optimizer.momentum": Float(0.8, 0.99)}
    return study(num_trials, space, lambda u: 200 * (u["lr"] - at) ** 2, noise=1.0, seed=seed, **others)


@pytest.mark.parametrize("seed", range(4))
def test_the_range_is_narrowed_around_the_best_and_what_does_nothing_is_fixed(seed):
    (finding,) = find(a_valley(seed))
    (remedy,) = finding.next
    narrower = remedy.changes["lr"]
    assert LR.low < narrower.low < 10**-2.5 < narrower.high < LR.high  # the lowest point of the valley
    assert LR.position(narrower.high) - LR.position(narrower.low) < 0.75
    assert (finding.code, finding.severity) == ("refine", "info")
    assert set(finding.evidence["fixed"]) <= {"model.dropout", "optimizer.momentum"}
    if "model.dropout" in finding.evidence["removed"]:
        assert remedy.changes["model.dropout"] == Choice((0.0,))


def test_an_end_that_should_widen_comes_first():
    found = find_all(a_valley(at=1.2))
    codes = {each.code for each in found if each.severity == "problem"}
    assert "space_boundary" in codes
    assert "refine" not in {each.code for each in found}


def test_it_is_not_said_where_nothing_matters_or_little_is_known():
    flat = study(200, {"lr": LR}, lambda u: np.zeros(200), noise=1.0)
    codes = {each.code for each in find_all(flat)}
    assert "refine" not in codes
    assert find(a_valley(num_trials=12)) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_two_findings_contradict_each_other(seed):
    rng = np.random.default_rng(seed)
    found = find_all(a_valley(seed, at=float(rng.uniform(-0.3, 1.3)), num_trials=int(rng.integers(16, 200))))
    said = {each.code for each in found if each.severity in SEVERITIES[:2]}
    if "refine" in {each.code for each in found}:
        assert not said & {"space_boundary", "few_trials", "insensitive", "lr_at_stability_edge"}
    if "insensitive" in said:
        assert "few_trials" not in said
