"""Was validation still getting better when training ended? Then more steps may give more (B8)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from playbook.analysis.curves import pooled
from playbook.analysis.curves.counted import one_example
from playbook.analysis.curves.noise import change
from playbook.analysis.curves.pooled import Group
from playbook.analysis.curves.rectangle import Curves, Values, condensed, times_noise
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
    p_value: float = 0.01
    """Of no gain."""
    fewest_examples: int = 5
    """Validation examples that must have been gained, of the mean trial."""
    gain: float = 1.0
    """Noises of one evaluation that must have been gained in the last third: less is nobody's aim."""
    share: float = 0.02
    """Of what was gained after the first quarter of the evaluations, where there is no noise to speak of."""
    stopped: float = 0.25
    """The share of the last third's gain that its second half must have, as far as can be told."""
    share_of_all: float = 0.001
    """Of what was gained after the second evaluation: the first may be anything."""


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm whose better trials still improve, judged together (`curves/pooled.py`)."""
    if not len(tables.curves):
        return []
    curves, groups = pooled.of_objective(tables)
    return [found for group in groups if (found := _of_group(tables, group, curves, limits))]


def _of_group(tables: Tables, group: Group, curves: Curves, limits: Thresholds) -> Finding | None:
    mine = curves.only(np.isin(curves.trials, group.asked))
    points = condensed(mine)
    spread = pooled.typical_noise(mine, 0.4)

    def gained(since: float) -> tuple[Values, pooled.Pooled] | None:
        own = -change(points.steps, points.values, points.late(since))
        known = np.isfinite(own)
        if known.sum() < pooled.Thresholds.fewest:
            return None
        evaluations = float(np.maximum(mine.late(since)[known].sum(axis=1), 1).mean())
        return own, pooled.over_trials(own[known], spread * float(np.sqrt(12 / evaluations)))

    late, last = gained(limits.late), gained(limits.last)
    if late is None or last is None:
        return None
    own, gain = late
    stopped = last[1].mean + 1.645 * last[1].error < limits.stopped * gain.mean
    least = max(
        limits.gain * spread,
        limits.share * float(np.median(gained_since_quarter(points))),
        limits.share_of_all * float(np.median(mine.plunge)),
        limits.fewest_examples * one_example(tables, mine),
    )
    if stopped or gain.mean < least or gain.p_above >= limits.p_value:
        return None
    last_step, in_noise = int(mine.last_steps.max()), gain.mean / spread if spread > 0 else float("inf")
    low, high = gain.interval()
    message = (
        f"The {len(group.asked)} best trials were still improving when they ended: on average"
        f" {tables.objective.metric} got better by {gain.mean:.3g} (95 % interval {low:.2g} to {high:.2g}) in the last"
        f" third of {last_step} steps, {times_noise(in_noise)}. More steps may give more; keep the decay of the"
        " learning rate at the end."
    )
    evidence = {
        "judged": group.judged,
        "gain": gain.mean,
        "gain_interval": (low, high),
        "gain_in_noise": in_noise,
        "p_value": gain.p_above,
        "steps": last_step,
        "trials": [{"trial": int(trial), "gain": each} for trial, each in zip(mine.trials, own.tolist(), strict=True)],
    }
    trials = tuple(int(trial) for trial in group.asked)
    return Finding("still_improving", "advice", "B8", message, group.arm, None, trials, evidence, longer(tables))


def gained_since_quarter(points: Curves) -> Values:
    """(rows,): how far the lowest point of each row is below the one at a quarter of its points."""
    begin = np.where(points.columns == points.lengths[:, None] // 4, points.values, 0.0).sum(axis=1)
    inside = points.columns < points.lengths[:, None]
    return np.asarray(begin - np.where(inside, points.values, np.inf).min(axis=1, initial=np.inf))
