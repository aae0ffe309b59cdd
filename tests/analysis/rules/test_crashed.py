"""A crash is a problem, and its reason is said."""

import polars as pl

from playbook.analysis.rules import find_all
from playbook.analysis.tables import Tables
from playbook.study.design import Objective


def tables(status: list[str], reason: list[str | None]) -> Tables:
    objective = [0.1 * (place + 1) if each == "complete" else None for place, each in enumerate(status)]
    trials = {"trial": range(len(status)), "arm": "all", "status": status, "objective": objective, "reason": reason}
    return Tables(
        pl.DataFrame(trials, schema_overrides={"objective": pl.Float64(), "reason": pl.String()}), Objective()
    )


def test_the_crashed_trials_are_counted_with_their_reasons():
    error = "RuntimeError: heads"
    (first, *_) = find_all(tables(["crashed", "complete", "crashed", "crashed"], [error, None, error, None]))
    assert (first.code, first.severity, first.trials) == ("crashed", "problem", (0, 2, 3))
    assert first.message.startswith("3 of 4 trials crashed: 2 with RuntimeError: heads.")
    assert first.evidence["reasons"] == {error: 2}


def test_where_none_crashed_nothing_is_said():
    found = find_all(tables(["complete", "infeasible", "complete"], [None, "diverged", None]))
    assert "crashed" not in {finding.code for finding in found}
