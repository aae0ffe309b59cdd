"""Runs of unequal length: the best value of a longer run is of more evaluations and more training (C1).

Those that stop at a target lose to those that go on. Whether arms differ in it, or trials do, is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from playbook.analysis.finding import Finding, Severity
from playbook.analysis.tables import Tables
from playbook.text import count, listed


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    shorter: float = 0.9
    """The share of the longest run below which one is shorter: the last evaluation may be missing."""


def last_steps(tables: Tables) -> pl.DataFrame:
    """`arm`, `trial`, `last`: the last step with a finite value of the objective's metric, of each that trained."""
    curves = tables.curves.filter((pl.col("metric") == tables.objective.metric) & pl.col("value").is_finite())
    last = curves.group_by("trial").agg(last=pl.col("step").max())
    trained = tables.trials.filter((pl.col("status") == "complete") & pl.col("objective").is_finite())
    return trained.select("arm", "trial").join(last, on="trial", how="inner", maintain_order="left")


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`unequal_steps`, where trials that trained end at different steps and are compared as if they did not."""
    ends = last_steps(tables)
    if len(ends) < 2:
        return []
    longest = int(ends["last"].max())  # type: ignore[arg-type]
    short = ends.filter(pl.col("last") < limits.shorter * longest)
    if not len(short):
        return []
    medians = ends.group_by("arm", maintain_order=True).agg(steps=pl.col("last").median())
    steps = {arm: int(value) for arm, value in medians.iter_rows()}
    behind = [arm for arm, value in steps.items() if value < limits.shorter * max(steps.values())]
    message = (
        f"{count(len(short), 'trial')} of {len(ends)} ended before step {longest}, the last of the longest (the first"
        f" at step {min(short['last'].to_list())}), and are compared as if they had not."
    )
    if behind:
        message += f" {listed(behind)} had shorter runs than {max(steps, key=lambda arm: steps[arm])}."
    message += " Compare by the same number of steps: those that went on had more chances."
    evidence = {"longest": longest, "shorter": len(short), "trials": len(ends), "steps": steps}
    severity: Severity = "advice" if behind else "info"
    trials = tuple(short["trial"].to_list())
    return [Finding("unequal_steps", severity, "C1", message, trials=trials, evidence=evidence)]
