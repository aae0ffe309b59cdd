"""Does validation get worse while training gets better? (B8)

The objective's metric is judged, over the stretch after it was best. A trial whose training loss rises there too is
unstable rather than overfitted, and is left to `train_loss_rising`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis import metrics
from playbook.analysis.curves.noise import trend
from playbook.analysis.curves.rectangle import Values, best_first, condensed, leading, of_metric, times_noise
from playbook.analysis.curves.rises import Thresholds as RiseThresholds
from playbook.analysis.curves.rises import rises
from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.remedies import widened
from playbook.analysis.tables import Tables
from playbook.study.space import Float


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    rises: RiseThresholds = field(default_factory=RiseThresholds)
    """When the metric, and the training loss, rise."""
    significant: float = 1.645
    """Standard deviations of the training loss's trend: one in twenty without one."""
    shown: int = 10
    """Trials that overfit without doubt beside a best one that does not, which are shown."""


WEIGHT_DECAY = "optimizer.weight_decay"
FIRST_SEARCH = Float(1e-5, 1e-1, "log")
"""Of weight decay, where it was not searched."""
REGULARISERS = ("weight_decay", "dropout", "label_smoothing", "augment")


def numbers(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial whose validation curve can be judged.

    `best_step`, `best` and `last` (means of a stretch), `rise_in_noise`, `p_value` (of the trend after the best
    stretch) and `height` (of the end above it, in standard errors), `training` (`falls`, `flat`, `rises` or `unknown`,
    after the best step), `overfits` (beyond noise), a `hint` of it, and `surely`.
    """
    curves = of_metric(tables, tables.objective.metric)
    found = rises(curves, limits.rises)
    table = pl.DataFrame(
        {
            "trial": curves.trials,
            "best_step": found.low_step.astype(np.int64),
            "best": found.low * tables.sign,
            "last": found.last * tables.sign,
            "rise_in_noise": found.in_noise,
            "p_value": found.trend_p,
            "height": found.end_height,
            "rises": found.at_the_end,
            "hint": found.hint,
            "surely": found.surely,
        }
    )
    training = training_after(tables, curves.trials, found.low_step, limits)
    table = table.join(training, on="trial", how="left", maintain_order="left")
    table = table.with_columns(pl.col("training").fill_null("unknown"))
    falls, rises_too = pl.col("training") == "falls", pl.col("training") == "rises"
    return table.with_columns(
        overfits=pl.col("rises") & ~rises_too,
        hint=pl.col("hint") & (falls | (pl.col("training") == "unknown")),
        surely=pl.col("surely") & falls,
    ).drop("rises")


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm: about its best trials, else about others that overfit without doubt."""
    if not len(tables.curves) or metrics.is_training(tables.objective.metric):
        return []
    by_arm = best_first(tables, numbers(tables, limits))
    return [found for arm, rows in by_arm if (found := _of_arm(tables, arm, rows, limits))]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame, limits: Thresholds) -> Finding | None:
    best = leading(rows, "overfits")
    sure = rows.filter("surely")
    evidence: dict[str, Any] = {"judged": len(rows), "surely_overfitting": len(sure)}
    if best is None:
        if not len(sure):
            return None
        message = (
            f"{len(sure)} of {len(rows)} trials overfit without doubt; the best (trial {rows['trial'][0]}) does not."
        )
        shown = sure.head(limits.shown)
        evidence["trials"] = shown.to_dicts()
        return Finding("overfitting", "info", "B8", message, arm, None, tuple(shown["trial"].to_list()), evidence)
    evidence["trials"] = best.to_dicts()
    one = best.row(0, named=True)
    training = {
        "falls": "while training goes on getting better",
        "flat": "while training stays as good",
        "unknown": "(there is no training curve beside it)",
    }[one["training"]]
    message = (
        f"Trial {one['trial']}, one of the best, overfits: {tables.objective.metric} goes from {one['best']:.4g} around"
        f" step {one['best_step']} to {one['last']:.4g} at the end, {times_noise(one['rise_in_noise'])},"
        f" {training}. {_advice(tables, arm)}"
    )
    severity: Severity = "problem" if best["surely"][0] else "advice"
    trials = tuple(best["trial"].to_list())
    return Finding(
        "overfitting", severity, "B8", message, arm, None, trials, evidence, (_more_weight_decay(tables, arm),)
    )


def _more_weight_decay(tables: Tables, arm: str) -> Remedy:
    """The study with weight decay searched, and farther up where it was already."""
    searched = tables.space.get(arm, {}).get(WEIGHT_DECAY)
    farther = None if searched is None else widened(searched, "upper")
    return Remedy({WEIGHT_DECAY: farther or FIRST_SEARCH})


def _advice(tables: Tables, arm: str) -> str:
    searched = [key for key in tables.space.get(arm, {}) if any(word in key for word in REGULARISERS)]
    if searched:
        return f"Search {' and '.join(searched)} farther up, or add another regulariser, before comparing arms."
    return "Regularise (weight decay, dropout, label smoothing, augmentation) and tune that before comparing arms."


def training_after(
    tables: Tables, trials: NDArray[np.int64], since: Values, limits: Thresholds = Thresholds()
) -> pl.DataFrame:
    """`trial` and `training`: whether the training loss `falls`, is `flat` or `rises` after `since` (a step a trial).

    Trials without a curve of it are left out.
    """
    metric = metrics.training_metric(tables)
    if metric is None:
        return pl.DataFrame(schema={"trial": pl.Int64(), "training": pl.String()})
    curves = of_metric(tables, metric)
    curves = curves.only(np.isin(curves.trials, trials))
    points = condensed(curves)
    begin = since[np.searchsorted(trials, curves.trials)]
    after = (points.steps >= begin[:, None]) & (points.columns < points.lengths[:, None])
    z = trend(points.values, after)
    rising = (z > limits.significant) | rises(curves, limits.rises).hint | curves.broken
    course = np.where(rising, "rises", np.where(z < -limits.significant, "falls", "flat"))
    return pl.DataFrame({"trial": curves.trials, "training": course}, schema_overrides={"training": pl.String()})
