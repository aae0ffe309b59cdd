"""When in training were the trials best? Always early: far too many steps. Always late: maybe too few (C2).

A histogram of `best_step_shares` is the picture of it. The verdicts are about the better trials of each arm: a
learning rate that is too low is best at its last step however many there are.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from scipy.stats import binom

from playbook.analysis.curves.rectangle import best_first
from playbook.analysis.finding import Finding, Severity
from playbook.analysis.remedies import longer, shorter
from playbook.analysis.tables import Tables

EARLY, LATE = 0.1, 0.75
"""The shares of the steps by which, and after which, a trial is early or late."""
ALWAYS, CONSISTENTLY = 0.9, 0.8
"""The shares of trials that are always and consistently."""
FEWEST, MOST = 5, 40
"""Of the better quarter of an arm, at least and at most so many are asked."""
P_VALUE = 0.01
"""That so many are there by chance, if best steps fall anywhere: three early ones, or four late ones, say something."""
P_SURE = 1e-4


def best_step_shares(tables: Tables) -> pl.DataFrame:
    """A row a trial with an objective: `best_step`, `steps` (its last evaluation's) and `share` (of one in the other).

    The best step is that of the objective's curve, first of equals, or the trial's own where there is no curve.
    """
    trials = tables.ranked().select("trial", *(["best_step"] if "best_step" in tables.trials.columns else []))
    if "best_step" not in trials.columns:
        trials = trials.with_columns(best_step=pl.lit(None, pl.Int64()))
    value = pl.col("value") * tables.sign
    curves = tables.curves.lazy().filter(pl.col("metric") == tables.objective.metric)
    of_curves = (
        curves.group_by("trial")
        .agg(
            pl.col("step").max().alias("steps"),
            pl.col("step")
            .filter(value.is_finite() & (value == value.filter(value.is_finite()).min()))
            .min()
            .alias("seen"),
        )
        .collect()
    )
    table = trials.join(of_curves, on="trial", how="left", maintain_order="left").with_columns(
        best_step=pl.coalesce("seen", "best_step"), steps=pl.coalesce("steps", pl.lit(tables.max_steps, pl.Int64()))
    )
    kept = table.filter(pl.col("best_step").is_not_null() & (pl.col("steps") > 0)).drop("seen")
    return kept.with_columns(share=pl.col("best_step") / pl.col("steps"))


def find(tables: Tables) -> list[Finding]:
    """At most one finding an arm."""
    return [
        found for arm, rows in best_first(tables, best_step_shares(tables)) if (found := _of_arm(tables, arm, rows))
    ]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame) -> Finding | None:
    few = rows.head(min(max(FEWEST, math.ceil(len(rows) / 4)), MOST))
    early, late = few.filter(pl.col("share") <= EARLY), few.filter(pl.col("share") >= LATE)
    evidence: dict[str, Any] = {
        "asked": len(few),
        "early": len(early),
        "late": len(late),
        "median_share": few["share"].median(),
        "shares": few["share"].head(10).to_list(),
    }
    trials = tuple(few["trial"].head(10).to_list())
    p_early = float(binom.sf(len(early) - 1, len(few), EARLY))
    if len(early) >= ALWAYS * len(few) and p_early < P_VALUE:
        latest = int(early["best_step"].max())  # type: ignore[arg-type]
        message = (
            f"{len(early)} of the {len(few)} best trials were best in the first tenth of training, by step {latest}."
            " That is far too many steps."
        )
        severity: Severity = "problem" if p_early < P_SURE else "advice"
        evidence["p_value"] = p_early
        return Finding(
            "best_step_early", severity, "C2", message, arm, None, trials, evidence, shorter(tables, 2 * latest)
        )
    p_late = float(binom.sf(len(late) - 1, len(few), 1 - LATE))
    if len(late) >= CONSISTENTLY * len(few) and p_late < P_VALUE:
        message = (
            f"{len(late)} of the {len(few)} best trials were best in the last quarter of training. Longer training,"
            " with the decay of the learning rate tuned again, may be better."
        )
        evidence["p_value"] = p_late
        return Finding("best_step_late", "advice", "C2", message, arm, None, trials, evidence, longer(tables))
    return None
