"""Was validation flat long before training ended? Then fewer steps would have told as much (B8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.curves import rectangle
from playbook.analysis.curves.noise import change, noise
from playbook.analysis.curves.rectangle import Curves, Values, best_first, condensed, leading, of_metric, quantum
from playbook.analysis.finding import Finding
from playbook.analysis.remedies import shorter
from playbook.analysis.rules import still_improving
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    early: float = 0.4
    """The share of the steps by which all must be gained."""
    gain: float = 1.0
    """Noises of one evaluation, or steps of a counted metric, that may be gained after that: half are not seen."""
    share: float = 0.005
    """The same of what was gained after the second evaluation, where there is no noise to speak of."""
    learnt: float = 4.0
    """Noises of one evaluation that must have been gained at all: a trial that never learnt is not saturated."""
    fewest: int = 8
    """Evaluations below which nothing can be told."""


def numbers(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial whose curve can be judged.

    `since` (the first step where the metric is as good as it is from 0.4 of the steps on), `steps` (of the last
    evaluation), `gain` (from 0.4 of the steps on), `noise` (of one evaluation), `saturated`, and whether it `improves`
    at the end.
    """
    curves = of_metric(tables, tables.objective.metric, rectangle.Thresholds(fewest=limits.fewest))
    curves = curves.only(~curves.broken)
    points = condensed(curves)
    late, late_points = curves.after(limits.early), points.after(limits.early)
    spread = np.maximum(noise(curves.values, late), quantum(np.where(late, curves.values, np.nan)))
    error = spread * np.sqrt(12 / np.maximum(late.sum(axis=1), 1))  # of the change along a line
    gain = -change(points.steps, points.values, late_points)
    level = np.where(late_points, points.values, 0.0).sum(axis=1) / np.maximum(late_points.sum(axis=1), 1)
    learnt = curves.values[:, 0] - level if len(curves) else level
    no_gain = gain <= np.maximum(limits.gain * spread + 0.5 * error, limits.share * curves.plunge)
    no_loss = -gain <= np.maximum(limits.gain * spread + 2 * error, limits.share * curves.plunge)
    table = pl.DataFrame(
        {
            "trial": curves.trials,
            "since": _first_near(points, level + np.maximum(spread, limits.share * curves.plunge)),
            "steps": curves.last_steps.astype(np.int64),
            "gain": gain,
            "noise": spread,
            "saturated": no_gain & no_loss & (learnt > limits.learnt * spread),
        }
    )
    improves = still_improving.numbers(tables).select("trial", "improves", improves_hint="hint")
    table = table.join(improves, on="trial", how="left", maintain_order="left")
    flat = pl.col("saturated") & ~pl.col("improves").fill_null(False)
    return table.with_columns(saturated=flat, hint=flat)


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm whose best trials were flat."""
    if not len(tables.curves):
        return []
    return [found for arm, rows in best_first(tables, numbers(tables, limits)) if (found := _of_arm(tables, arm, rows))]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame) -> Finding | None:
    best = leading(rows, "saturated")
    if best is None or leading(rows.with_columns(hint=pl.col("improves_hint")), "improves") is not None:
        return None
    enough, count = float(best["since"].max()), int(rows["saturated"].sum())  # type: ignore[arg-type]
    one = best.row(0, named=True)
    message = (
        f"Trial {one['trial']}, one of the best, was flat from step {one['since']} of {one['steps']} on:"
        f" {tables.objective.metric} gained {max(one['gain'], 0.0):.2g} in the last six tenths, with a noise of"
        f" {one['noise']:.2g}. {count} of {len(rows)} trials were. Fewer steps tell as much, and leave more trials."
    )
    evidence = {"judged": len(rows), "saturated": count, "trials": best.to_dicts()}
    trials = tuple(best["trial"].to_list())
    return Finding("saturated", "advice", "B8", message, arm, None, trials, evidence, shorter(tables, enough))


def _first_near(points: Curves, level: Values) -> NDArray[np.int64]:
    near = points.values <= level[:, None]
    steps = points.steps[np.arange(len(points)), np.argmax(near, axis=1)] if len(points) else np.zeros(0)
    return np.asarray(steps.astype(np.int64))
