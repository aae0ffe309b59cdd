"""Was validation still getting better when training ended? Then more steps may give more (B8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import norm

from playbook.analysis.curves.noise import change, noise, trend
from playbook.analysis.curves.rectangle import (
    Curves,
    Values,
    best_first,
    condensed,
    leading,
    of_metric,
    times_noise,
)
from playbook.analysis.finding import Finding
from playbook.analysis.remedies import longer
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    late: float = 2 / 3
    """The share of the steps after which the end begins."""
    last: float = 5 / 6
    """The share of the steps after which the second half of the end begins."""
    p_hint: float = 0.1
    """Of the trend, for a hint."""
    p_value: float = 0.02
    """Of the trend, for a verdict."""
    sure: float = 5.0
    """Standard errors of the gain that are enough by themselves: few points cannot have a small p-value."""
    gain: float = 1.0
    """Noises of one evaluation that must have been gained in the last third: less is nobody's aim."""
    share: float = 0.02
    """Of what was gained after the first quarter of the evaluations, where there is no noise to speak of."""
    stopped: float = 0.25
    """The share of the last third's gain that its second half must have, as far as can be told."""
    share_of_all: float = 0.001
    """Of what was gained after the second evaluation: the first may be anything."""


def numbers(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial whose curve can be judged.

    `gain` (in the last third of the steps, positive where better), `gain_in_noise`, `p_value` (that there is none),
    `improves` (whether beyond noise), a `hint` of it, `steps` (of the last evaluation).
    """
    curves = of_metric(tables, tables.objective.metric)
    curves = curves.only(~curves.broken)
    points = condensed(curves)
    late = points.late(limits.late)
    gain = -change(points.steps, points.values, late)
    spread = noise(curves.values, curves.after(0.4))
    error = spread * np.sqrt(12 / np.maximum(curves.late(limits.late).sum(axis=1), 1))
    p_value = norm.sf(-trend(points.values, late))
    beyond_noise = (p_value < limits.p_value) | (gain > limits.sure * error)
    end_gain = -change(points.steps, points.values, points.late(limits.last))
    end_error = spread * np.sqrt(12 / np.maximum(curves.late(limits.last).sum(axis=1), 1))
    stopped = end_gain + 1.645 * end_error < limits.stopped * gain
    least = np.maximum(limits.share * gained_since_quarter(points), limits.share_of_all * curves.plunge)
    material = ~stopped & ~(gain < limits.gain * spread) & (gain >= least)
    with np.errstate(invalid="ignore", divide="ignore"):
        in_noise = gain / spread
    return pl.DataFrame(
        {
            "trial": curves.trials,
            "steps": curves.last_steps.astype(np.int64),
            "gain": gain,
            "gain_in_noise": in_noise,
            "p_value": p_value,
            "improves": beyond_noise & material,
            "hint": (p_value < limits.p_hint) & material,
        },
    )


def gained_since_quarter(points: Curves) -> Values:
    """(rows,): how far the lowest point of each row is below the one at a quarter of its points."""
    begin = np.where(points.columns == points.lengths[:, None] // 4, points.values, 0.0).sum(axis=1)
    inside = points.columns < points.lengths[:, None]
    return np.asarray(begin - np.where(inside, points.values, np.inf).min(axis=1, initial=np.inf))


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm whose best trials still improve."""
    if not len(tables.curves):
        return []
    return [found for arm, rows in best_first(tables, numbers(tables, limits)) if (found := _of_arm(tables, arm, rows))]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame) -> Finding | None:
    best = leading(rows, "improves")
    if best is None:
        return None
    one, count = best.row(0, named=True), max(int(rows["improves"].sum()), len(best))
    message = (
        f"Trial {one['trial']}, one of the best, was still improving when it ended: {tables.objective.metric} got"
        f" better by {one['gain']:.3g} in the last third of its {one['steps']} steps,"
        f" {times_noise(one['gain_in_noise'])}. {count} of {len(rows)} trials do. More steps may give more;"
        " keep the decay of the learning rate at the end."
    )
    evidence = {"judged": len(rows), "improving": count, "trials": best.to_dicts()}
    trials = tuple(best["trial"].to_list())
    return Finding("still_improving", "advice", "B8", message, arm, None, trials, evidence, longer(tables))
