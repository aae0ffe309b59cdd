"""Did trials crash? What they would have reached is unknown, so that the study answers less than it was asked (B7).

An infeasible trial is a result: those settings do not train. A crash is none: it is the program that failed.
"""

from __future__ import annotations

import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables
from playbook.text import listed

LONGEST = 160
"""Characters of a reason in the message; `trials.csv` and the crash files have all of it."""


def find(tables: Tables) -> list[Finding]:
    """One finding, about all arms."""
    crashed = tables.trials.filter(pl.col("status") == "crashed")
    if not len(crashed):
        return []
    known = crashed["reason"].drop_nulls() if "reason" in crashed.columns else pl.Series(dtype=pl.String())
    reasons = {str(reason): int(times) for reason, times in known.value_counts(sort=True).iter_rows()}
    shown = listed([f"{times} with {reason[:LONGEST]}" for reason, times in reasons.items()]) if reasons else ""
    message = (
        f"{len(crashed)} of {len(tables.trials)} trials crashed{f': {shown}' if shown else ''}."
        " What they would have reached is unknown. The study's command runs them again."
    )
    evidence = {"crashed": len(crashed), "trials": len(tables.trials), "reasons": reasons}
    return [Finding("crashed", "problem", "B7", message, None, None, tuple(crashed["trial"]), evidence)]
