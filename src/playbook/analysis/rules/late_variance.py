"""Does validation jump so much late in training that luck chooses among the best trials? (B8)

The noise of an evaluation late in training is held against two things: how far the best trials are apart, since a
noise as large makes their order an accident; and the noise before, since a run that grows restless does not end twice
at the same place. How far trials are apart is seen from their mean level late in training: their objectives are the
luckiest evaluations, which differ by the noise itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.curves import rectangle
from playbook.analysis.curves.noise import noise
from playbook.analysis.curves.rectangle import Curves, Flags, Values, best_first, of_metric
from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    late: float = 2 / 3
    """The share of the steps after which late begins."""
    before: float = 0.5
    """The share of the steps up to which before is, without the first evaluation."""
    of_difference: float = 1.0
    """How large the noise may be against the difference between the best trials."""
    growth: float = 1.7
    """How much larger the noise may be late than before."""
    sure: float = 2.75
    """Standard errors that the growth must have."""
    of_gain: float = 0.05
    """Of all that training gained: only larger noise is a problem rather than a small validation split's."""


_DISTANCE_OF_NORMALS = {2: 1.128, 3: 1.269, 4: 1.373, 5: 1.454}
"""The expected distance to the lowest of so many standard normals, on average over the others."""
_INFORMATION = 0.45
"""Degrees of freedom of the noise's estimate, for each evaluation: second differences overlap."""


def numbers(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial whose noise is known: `late_noise` and `noise_before` (standard deviations of one evaluation),
    `level` (mean late in training, lower is better), `gain` (of all of training), `evaluations` (late ones),
    `growth` (log of the ratio of the noises) and `growth_error` (its standard error)."""
    curves = of_metric(tables, tables.objective.metric)
    late, before = curves.late(limits.late), curves.up_to(limits.before)
    loud, quiet = noise(curves.values, late), noise(curves.values, before)
    with np.errstate(invalid="ignore", divide="ignore"):
        growth = np.log(loud / quiet)
        error = np.sqrt(0.5 / _INFORMATION * (1 / late.sum(axis=1) + 1 / before.sum(axis=1)))
    table = pl.DataFrame(
        {
            "trial": curves.trials,
            "late_noise": loud,
            "noise_before": quiet,
            "level": _means(curves, late),
            "gain": curves.values[:, 0] - np.fmin.reduce(curves.values, axis=1) if len(curves) else loud,
            "evaluations": late.sum(axis=1),
            "growth": np.where(np.isfinite(growth), growth, 0.0),
            "growth_error": error,
        },
        schema_overrides={"evaluations": pl.Int64()},
    )
    return table.filter(pl.col("late_noise").is_finite())


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """At most one finding an arm, about its five best trials."""
    if not len(tables.curves):
        return []
    return [
        found
        for arm, rows in best_first(tables, numbers(tables, limits))
        if (found := _of_arm(tables, arm, rows, limits))
    ]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame, limits: Thresholds) -> Finding | None:
    few = rows.head(rectangle.Thresholds.best)
    loud, levels = float(np.median(few["late_noise"].to_numpy())), np.sort(few["level"].to_numpy())
    apart = _apart(levels, loud / np.sqrt(few["evaluations"].to_numpy().mean())) if len(few) > 1 else None
    error = np.sqrt(0.5 / _INFORMATION / int(few["evaluations"].sum()))
    surely = loud / (1 + 1.645 * error)
    growth = float(few["growth"].to_numpy().mean())
    growth_error = float(np.sqrt((few["growth_error"].to_numpy() ** 2).mean() / len(few)))
    accidental = apart is not None and loud > limits.of_difference * apart
    restless = growth > np.log(limits.growth) and growth > limits.sure * growth_error
    if not accidental and not restless:
        return None
    of_gain = loud / float(few["gain"][0]) if few["gain"][0] > 0 else float("inf")
    seen = []
    if accidental:
        seen.append(f"the best trials are {_distance(apart, loud)} apart there, so that luck orders them")
    if restless:
        seen.append(f"it is {np.exp(growth):.1f} times what it was before")
    decays = _decays(tables, few["trial"].to_list())
    remedy = "Larger batches, more validation data and averaged weights calm it."
    if not decays:
        remedy = (
            "A learning rate that decays calms it, as do larger batches, more validation data and averaged weights."
        )
    message = (
        f"Late in training, {tables.objective.metric} of the best trials jumps by {loud:.2g} from one evaluation to the"
        f" next: {', and '.join(seen)}. {remedy}"
    )
    strong = apart is not None and surely > 2 * limits.of_difference * apart and of_gain > limits.of_gain
    severity: Severity = "problem" if strong else "advice"
    evidence: dict[str, Any] = {
        "late_noise": loud,
        "best_apart": apart,
        "noise_share_of_gain": of_gain if np.isfinite(of_gain) else None,
        "growth": float(np.exp(growth)),
        "growth_standard_errors": growth / growth_error,
        "evaluations": few["evaluations"].to_list(),
    }
    trials = tuple(few["trial"].to_list())
    remedies = () if decays else (Remedy({"schedule": "linear"}),)
    return Finding("late_variance", severity, "B8", message, arm, None, trials, evidence, remedies)


def _decays(tables: Tables, trials: list[int]) -> bool:
    """Whether the learning rate falls already, in the steps of those of the trials whose steps are here."""
    steps = [tables.steps[trial] for trial in trials if trial in tables.steps]
    rates = [table["lr"].to_numpy() for table in steps if "lr" in table.columns and len(table)]
    return any(bool(rate[-1] < 0.9 * rate.max()) for rate in rates)


def _distance(apart: float | None, noise: float) -> str:
    return f"only {apart:.2g}" if apart and apart > 0.1 * noise else "not visibly"


def _apart(levels: Values, error: float) -> float:
    """The mean distance of some levels to the lowest, less (in squares) what their own standard error makes of none."""
    by_error = error * _DISTANCE_OF_NORMALS[len(levels)]
    return float(np.sqrt(max(np.mean(levels[1:] - levels[0]) ** 2 - by_error**2, 0.0)))


def _means(curves: Curves, where: Flags) -> Values:
    return np.where(where, curves.values, 0.0).sum(axis=1) / np.maximum(where.sum(axis=1), 1)
