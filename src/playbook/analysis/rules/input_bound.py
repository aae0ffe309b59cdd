"""How much of a step is spent waiting for data? (D1)

What counts is the median over the steps: the first ones open files and start workers, and a few slow ones are the
machine's.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    large: float = 0.2
    """The share of a step's time from which waiting is worth mending."""
    dominant: float = 0.5
    """The share from which waiting is what training mostly does."""
    warm_up: int = 10
    """Steps at the start that do not count, or the first tenth of a shorter run."""
    fewest_steps: int = 20
    """Steps below which nothing can be told."""


def share(steps: pl.DataFrame, limits: Thresholds = Thresholds()) -> float | None:
    """The median of `data_seconds` over `step_seconds` (which contains it); None where there are too few steps."""
    if not {"data_seconds", "step_seconds"} <= set(steps.columns) or len(steps) < limits.fewest_steps:
        return None
    steady = steps.slice(min(limits.warm_up, len(steps) // 10))
    shares = (
        steady.filter(pl.col("step_seconds") > 0).select(pl.col("data_seconds") / pl.col("step_seconds")).to_series()
    )
    shares = shares.filter(shares.is_finite())
    return float(shares.median()) if len(shares) >= limits.fewest_steps // 2 else None  # type: ignore[arg-type]


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """At most one finding: the input pipeline is that of the whole study."""
    shares = {trial: found for trial, steps in tables.steps.items() if (found := share(steps, limits)) is not None}
    if not shares:
        return []
    waiting = sorted((trial for trial in shares if shares[trial] >= limits.large), key=lambda trial: -shares[trial])
    if 2 * len(waiting) <= len(shares):
        return []
    middle = float(pl.Series(list(shares.values())).median())  # type: ignore[arg-type]
    severity: Severity = "problem" if middle >= limits.dominant else "advice"
    message = (
        f"The median step waits for data {middle:.0%} of its time ({len(waiting)} of {len(shares)} trials wait"
        f" {limits.large:.0%} or more)."
        " With data in memory, or more worker processes, training is faster and gives the same."
    )
    evidence = {"median_share": middle, "shares": {str(trial): shares[trial] for trial in waiting[:10]}}
    remedy = Remedy({"data.in_memory": True})
    return [
        Finding("input_bound", severity, "D1", message, trials=tuple(waiting[:10]), evidence=evidence, next=(remedy,))
    ]
