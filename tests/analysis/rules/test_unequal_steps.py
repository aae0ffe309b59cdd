"""Runs of unequal length are said, and which arm has the shorter ones."""

import polars as pl
from synthetic_tables import tables

from playbook.analysis.rules.unequal_steps import find
from playbook.analysis.tables import Tables
from playbook.study.space import Float


def a_study(lasts, arms=None) -> Tables:
    rows = [(trial, step, "val/error", 0.5) for trial, last in enumerate(lasts) for step in range(0, last + 1, 10)]
    curves = pl.DataFrame(rows, schema=["trial", "step", "metric", "value"], orient="row")
    found = tables([0.1 * (each + 1) for each in range(len(lasts))], {"lr": [0.1] * len(lasts)}, {"lr": Float(0.01, 1)})
    trials = found.trials.with_columns(arm=pl.Series(arms or ["all"] * len(lasts)))
    return Tables(trials, found.objective, curves=curves, space=dict.fromkeys(trials["arm"], found.space["all"]))


def test_equal_lengths_are_no_finding():
    assert find(a_study([100, 100, 100])) == []
    assert find(a_study([100, 90, 100])) == []  # the last evaluation is missing


def test_shorter_runs_are_said():
    (finding,) = find(a_study([100, 40, 100]))
    assert (finding.severity, finding.trials) == ("info", (1,))
    assert "1 trial of 3 ended before step 100" in finding.message


def test_an_arm_of_shorter_runs_is_advice():
    (finding,) = find(a_study([100, 100, 40, 50], ["a", "a", "b", "b"]))
    assert (finding.severity, finding.evidence["steps"]) == ("advice", {"a": 100, "b": 45})
    assert "b had shorter runs than a" in finding.message
