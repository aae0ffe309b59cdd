"""Was validation flat long before training ended? Then fewer steps would have told as much (B8).

Flat is a claim of its own, and not what is said where no gain was found: the gain of the better trials over the last
six tenths of the steps must surely be smaller than what anybody would train for (two one-sided tests, Schuirmann 1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from playbook.analysis import metrics
from playbook.analysis.curves import pooled
from playbook.analysis.curves.noise import change, noise
from playbook.analysis.curves.pooled import Group
from playbook.analysis.curves.rectangle import Curves, Values, condensed, quantum
from playbook.analysis.finding import Finding
from playbook.analysis.remedies import shorter
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    early: float = 0.4
    """The share of the steps by which all must be gained."""
    of_learnt: float = 0.05
    """Of what was gained until then, that may still be gained."""
    of_level: float = 0.1
    """Of the error that is left, the same: 0.010 is not 0.009."""
    confidence: float = 0.9
    """Of the gain's interval, which must lie within that: each side errs in 5 %."""
    visible: float = 1.0
    """Noises of one evaluation from which on a gain that is surely there is not flat, however small."""
    visible_share: float = 0.005
    """Of what was gained after the second evaluation, the same where there is no noise to speak of."""
    learnt: float = 4.0
    """Noises of one evaluation that must have been gained at all: a trial that never learnt is not saturated."""
    fewest: int = 8
    """Evaluations below which nothing can be told."""


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm whose better trials were flat."""
    if not len(tables.curves):
        return []
    curves, groups = pooled.of_objective(tables, limits.fewest)
    return [found for group in groups if (found := _of_group(tables, group, curves, limits))]


def _of_group(tables: Tables, group: Group, curves: Curves, limits: Thresholds) -> Finding | None:
    mine = curves.only(np.isin(curves.trials, group.asked))
    points = condensed(mine)
    late, late_points = mine.after(limits.early), points.after(limits.early)
    gains = -change(points.steps, points.values, late_points)
    spread = np.maximum(noise(mine.values, late), quantum(np.where(late, mine.values, np.nan)))
    of_one = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 0.0
    # of the change along a line through so many evaluations
    gain = pooled.over_trials(gains, of_one * float(np.sqrt(12 / late.sum(axis=1).mean())))
    level = np.where(late_points, points.values, 0.0).sum(axis=1) / late_points.sum(axis=1)
    first = mine.values[:, 0] if not metrics.is_loss(tables.objective.metric) else mine.values[:, 1]
    learnt = float(np.median(first - level))
    margin = min(limits.of_learnt * learnt, limits.of_level * _left(tables, level))
    low, high = gain.interval(limits.confidence)
    visible = max(limits.visible * of_one, limits.visible_share * float(np.median(mine.plunge)))
    if not (-margin <= low and high <= margin) or (low > 0 and gain.mean > visible) or learnt <= limits.learnt * of_one:
        return None
    shares, values = pooled.in_step(curves, group.asked)
    last_step = int(mine.last_steps.max())
    since = int(_since(shares, values, limits.early, margin) * last_step)
    message = (
        f"The {len(group.asked)} best trials were flat from step {since} of {last_step} on: on average"
        f" {tables.objective.metric} gained {gain.mean:.2g} in the last six tenths ({limits.confidence:.0%} interval"
        f" {low:.2g} to {high:.2g}), which is surely less than {margin:.2g}. Fewer steps tell as much, and leave more"
        " trials."
    )
    evidence = {
        "judged": group.judged,
        "gain": gain.mean,
        "gain_interval": (low, high),
        "margin": margin,
        "noise": of_one,
        "since": since,
        "steps": last_step,
        "trials": [
            {"trial": int(trial), "gain": float(own)} for trial, own in zip(mine.trials, gains.tolist(), strict=True)
        ],
    }
    trials = tuple(int(trial) for trial in group.asked)
    return Finding("saturated", "advice", "B8", message, group.arm, None, trials, evidence, shorter(tables, since))


def _left(tables: Tables, level: Values) -> float:
    """What of an error, or of a loss, is left to gain, and of a score between 0 and 1; ∞ where that is not known."""
    typical = float(np.median(level)) * tables.sign
    if tables.sign > 0:
        return typical if typical >= 0 else np.inf
    return 1 - typical if 0 <= typical <= 1 else np.inf


def _since(shares: Values, values: Values, early: float, margin: float) -> float:
    """The share of the steps from which on the mean curve stays as good as it is late, within the margin."""
    mean = values.mean(axis=0)
    far: NDArray[np.int64] = np.flatnonzero(mean - mean[shares > early].mean() > margin)
    return float(shares[min(int(far.max()) + 1, len(shares) - 1)]) if len(far) else 0.0
