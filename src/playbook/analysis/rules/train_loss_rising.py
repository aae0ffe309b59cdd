"""Does the training loss go up? Then training is not stable, and mending that will pay (B8, E5).

The loss of evaluations is judged for every trial, and that of each step for those whose steps are here: an instability
in the first steps, from which the run recovers, is not seen by evaluations that are far apart. A rise that has gone
again by the end counts too, but as advice. A single wild value does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from playbook.analysis import metrics
from playbook.analysis.curves import rectangle
from playbook.analysis.curves.rectangle import Curves, best_first, from_rows, leading, of_metric, times_noise
from playbook.analysis.curves.rises import Thresholds as RiseThresholds
from playbook.analysis.curves.rises import rises
from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.remedies import AGAINST_INSTABILITY, round_up
from playbook.analysis.rules import clipping
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict and the remedy depend on."""

    rises: RiseThresholds = field(default_factory=RiseThresholds)
    """When the loss of evaluations rises."""
    step_points: int = 200
    """Means of steps in which a rise of the loss of steps is looked for."""
    fewest_steps: int = 20
    """Steps below which their loss says nothing."""
    warmup: float = 0.05
    """Of all steps: beyond that more steps should be thought of (E6)."""


def numbers(curves: Curves, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial. To the end: `low_step`, `low`, `last`, `rise_in_noise`, `p_value`, `height`. Anywhere:
    `from_step`, `to_step`, `top_rise_in_noise`, `top_height`. `rises` (beyond noise), a `hint` of it,
    `to_the_end` and `surely`."""
    found = rises(curves, limits.rises)
    return pl.DataFrame(
        {
            "trial": curves.trials,
            "low_step": found.low_step.astype(np.int64),
            "low": found.low,
            "last": found.last,
            "rise_in_noise": found.in_noise,
            "p_value": found.trend_p,
            "height": found.end_height,
            "from_step": found.top_from.astype(np.int64),
            "to_step": found.top_step.astype(np.int64),
            "top_rise_in_noise": found.top_in_noise,
            "top_height": found.top_height,
            "broken": curves.broken,
            "rises": found.anywhere | curves.broken,
            "hint": found.hint_anywhere | curves.broken,
            "to_the_end": found.at_the_end,
            "surely": found.surely | curves.broken,
        }
    )


def of_steps(tables: Tables, limits: Thresholds = Thresholds()) -> Curves:
    """The loss of every step of the trials whose steps are here."""
    complete = set(tables.ranked()["trial"].to_list())
    tall = [
        table.select(pl.lit(trial, pl.Int64()).alias("trial"), "step", pl.col("loss").alias("value"))
        for trial, table in sorted(tables.steps.items())
        if trial in complete and {"step", "loss"} <= set(table.columns)
    ]
    empty = pl.DataFrame(schema={"trial": pl.Int64(), "step": pl.Int64(), "value": pl.Float64()})
    rows = pl.concat([empty, *tall], how="vertical_relaxed").with_columns(pl.col("value").fill_null(np.nan))
    columns = (rows[column].to_numpy() for column in rows.columns)
    return from_rows(*columns, limits=rectangle.Thresholds(fewest=limits.fewest_steps))


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm: from its evaluations, else from its steps."""
    metric = metrics.training_metric(tables)
    found: dict[str, Finding] = {}
    if metric is not None:
        for arm, rows in best_first(tables, numbers(of_metric(tables, metric), limits)):
            if finding := _of_arm(tables, arm, rows, metric, limits):
                found[arm] = finding
    if tables.steps:
        by_step = replace(limits, rises=replace(limits.rises, points=limits.step_points))
        for arm, rows in best_first(tables, numbers(of_steps(tables, limits), by_step)):
            if arm not in found and (finding := _of_arm(tables, arm, rows, "the loss of steps", limits)):
                found[arm] = finding
    return [found[arm] for arm in tables.arms if arm in found]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame, metric: str, limits: Thresholds) -> Finding | None:
    best = leading(rows, "rises")
    if best is None:
        return None
    one, count = best.row(0, named=True), max(int(rows["rises"].sum()), len(best))
    if one["broken"]:
        course = "is not finite at the end"
    elif one["to_the_end"]:
        course = (
            f"rises from {one['low']:.4g} around step {one['low_step']} to {one['last']:.4g} at the end,"
            f" {times_noise(one['rise_in_noise'])}"
        )
    else:
        course = (
            f"rises between steps {one['from_step']} and {one['to_step']} by"
            f" {times_noise(one['top_rise_in_noise'])}, and comes back"
        )
    message = (
        f"Trial {one['trial']}, one of the best: {metric} {course}. {count} of {len(rows)} trials rise somewhere. That"
        f" is an instability, or a bug in the training pipeline. It is worth mending: {AGAINST_INSTABILITY}."
    )
    evidence = {"judged": len(rows), "rising": count, "metric": metric, "trials": best.to_dicts()}
    severity: Severity = "problem" if one["surely"] else "advice"
    trials = tuple(best["trial"].to_list())
    remedies = _remedies(tables, one["trial"], limits)
    return Finding("train_loss_rising", severity, "B8", message, arm, None, trials, evidence, remedies)


def _remedies(tables: Tables, trial: int, limits: Thresholds) -> tuple[Remedy, ...]:
    """The trial again with warmup, and with clipping where it had none (E8's order)."""
    found = []
    if tables.max_steps is not None:
        warmup = round_up(limits.warmup * tables.max_steps)
        found += [Remedy({"warmup_steps": warmup}, "trial", trial)] if warmup > tables.warmup_steps else []
    steps = tables.steps.get(trial)
    norms = steps["grad_norm"] if steps is not None and "grad_norm" in steps.columns else None
    if tables.clip_norm is None and norms is not None and (clip_norm := clipping.threshold(norms)) is not None:
        found.append(Remedy({"clip_norm": clip_norm}, "trial", trial))
    return tuple(found)
