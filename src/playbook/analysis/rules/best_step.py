"""When in training were the trials best? Always early: far too many steps. Always late: maybe too few (C2).

A histogram of `best_step_shares` is the picture of it. The verdicts are about the better trials of each arm: a learning
rate that is too low is best at its last step however many there are. Of a setting that is repeated one trial is asked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import binom

from playbook.analysis.curves.counted import one_example
from playbook.analysis.curves.rectangle import best_first, of_metric
from playbook.analysis.finding import Finding, Severity
from playbook.analysis.remedies import longer, shorter
from playbook.analysis.repeats import setting_of_trials
from playbook.analysis.tables import Tables, computed_once


@dataclass(frozen=True)
class Thresholds:
    """What the verdicts depend on."""

    early: float = 0.1
    """The share of the steps by which a trial is early."""
    late: float = 0.75
    """The share of the steps after which a trial is late."""
    always: float = 0.9
    """The share of the trials asked that are early always."""
    consistently: float = 0.8
    """The share of the trials asked that are late consistently."""
    asked: tuple[int, int] = (5, 40)
    """Of the better quarter of an arm, at least and at most so many are asked."""
    p_value: float = 0.01
    """That so many are there by chance, if best steps fall anywhere: three early ones, or four late ones, tell."""
    p_sure: float = 1e-4
    """The same for a problem."""
    fewest_examples: int = 5
    """Validation examples by which the late best of the mean trial is better than its best before."""


@computed_once
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


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """At most one finding an arm."""
    arms = best_first(tables, best_step_shares(tables))
    return [finding for arm, rows in arms if (finding := _of_arm(tables, arm, rows, limits))]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame, limits: Thresholds) -> Finding | None:
    fewest, most = limits.asked
    settings = rows.join(setting_of_trials(tables, arm), on="trial", maintain_order="left")
    rows = settings.unique("setting", keep="first", maintain_order=True)  # of each its typical repeat
    few = rows.head(min(max(fewest, math.ceil(len(rows) / 4)), most))
    early, late = few.filter(pl.col("share") <= limits.early), few.filter(pl.col("share") >= limits.late)
    evidence: dict[str, Any] = {
        "asked": len(few),
        "early": len(early),
        "late": len(late),
        "median_share": few["share"].median(),
        "shares": few["share"].head(10).to_list(),
    }
    trials = tuple(few["trial"].head(10).to_list())
    p_early = float(binom.sf(len(early) - 1, len(few), limits.early))
    if len(early) >= limits.always * len(few) and p_early < limits.p_value:
        latest = int(early["best_step"].max())  # type: ignore[arg-type]
        message = (
            f"{len(early)} of the {len(few)} best trials were best in the first tenth of training, by step {latest}."
            " That is far too many steps."
        )
        severity: Severity = "problem" if p_early < limits.p_sure else "advice"
        evidence["p_value"] = p_early
        return Finding(
            "best_step_early", severity, "C2", message, arm, None, trials, evidence, shorter(tables, 2 * latest)
        )
    p_late = float(binom.sf(len(late) - 1, len(few), 1 - limits.late))
    consistently = len(late) >= limits.consistently * len(few) and p_late < limits.p_value
    if consistently and _gained_late(tables, late["trial"].to_numpy(), limits):
        message = (
            f"{len(late)} of the {len(few)} best trials were best in the last quarter of training. Longer training,"
            " with the decay of the learning rate tuned again, may be better."
        )
        evidence["p_value"] = p_late
        return Finding("best_step_late", "advice", "C2", message, arm, None, trials, evidence, longer(tables))
    return None


def _gained_late(tables: Tables, trials: NDArray[np.int64], limits: Thresholds) -> bool:
    """Whether the trials' best in the last quarter is more than a few examples better; True where none are counted."""
    curves = of_metric(tables, tables.objective.metric)
    curves = curves.only(np.isin(curves.trials, trials))
    if not len(curves) or not (one := one_example(tables, curves)):
        return True
    before = curves.steps < (limits.late * curves.last_steps)[:, None]
    after = ~before & (curves.columns < curves.lengths[:, None])
    best = [np.where(part, curves.values, np.inf).min(axis=1) for part in (before, after)]
    return float(np.mean(best[0] - best[1])) >= limits.fewest_examples * one
