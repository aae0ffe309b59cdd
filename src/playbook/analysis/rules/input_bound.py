"""How much of a step is spent waiting for data? (D1)

What counts is the median over the steps: the first ones open files and start workers, and a few slow ones are the
machine's.
"""

from __future__ import annotations

import polars as pl

from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.tables import Tables

LARGE, DOMINANT = 0.2, 0.5
"""The shares of a step's time from which waiting is worth mending, and is what training mostly does."""
WARM_UP = 10
"""Steps at the start that do not count, or the first tenth of a shorter run."""
FEWEST_STEPS = 20


def share(steps: pl.DataFrame) -> float | None:
    """The median of `data_seconds` over `step_seconds` (which contains it); None where there are too few steps."""
    if not {"data_seconds", "step_seconds"} <= set(steps.columns) or len(steps) < FEWEST_STEPS:
        return None
    steady = steps.slice(min(WARM_UP, len(steps) // 10))
    shares = (
        steady.filter(pl.col("step_seconds") > 0).select(pl.col("data_seconds") / pl.col("step_seconds")).to_series()
    )
    shares = shares.filter(shares.is_finite())
    return float(shares.median()) if len(shares) >= FEWEST_STEPS // 2 else None  # type: ignore[arg-type]


def find(tables: Tables) -> list[Finding]:
    """At most one finding: the input pipeline is that of the whole study."""
    shares = {trial: found for trial, steps in tables.steps.items() if (found := share(steps)) is not None}
    if not shares:
        return []
    waiting = sorted((trial for trial in shares if shares[trial] >= LARGE), key=lambda trial: -shares[trial])
    if 2 * len(waiting) <= len(shares):
        return []
    middle = float(pl.Series(list(shares.values())).median())  # type: ignore[arg-type]
    severity: Severity = "problem" if middle >= DOMINANT else "advice"
    message = (
        f"The median step waits for data {middle:.0%} of its time ({len(waiting)} of {len(shares)} trials wait"
        f" {LARGE:.0%} or more). With data in memory, or more worker processes, training is faster and gives the same."
    )
    evidence = {"median_share": middle, "shares": {str(trial): shares[trial] for trial in waiting[:10]}}
    remedy = Remedy({"data.in_memory": True})
    return [
        Finding("input_bound", severity, "D1", message, trials=tuple(waiting[:10]), evidence=evidence, next=(remedy,))
    ]
