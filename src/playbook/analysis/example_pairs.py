"""Two trials on one validation set: compared by the examples on which they differ (McNemar; Dietterich 1998).

And what a trial's objective owes to its best step having been chosen on the examples that judge it: choose the step on
one half of the examples and judge on the other, both ways round.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.tables import Tables, computed_once

FEWEST = 5
"""Examples of difference: k of them cannot have a p below 2⁻ᵏ."""
MOST_STEPS = 20
"""Trials whose steps are chosen anew: the mean over more is no surer."""


def paired_examples(tables: Tables, one: int, other: int, critical: float) -> bool | None:
    """Whether trial `other` is worse by more than `critical` standard errors of the difference; None without records.

    Of right and wrong it is the exact test at the same level.
    """
    first, second = _at_best(tables, one), _at_best(tables, other)
    if first is None or second is None or first.shape != second.shape:
        return None
    apart = second.astype(np.float64) - first
    if not np.isfinite(apart).all():
        return None
    if np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all():
        from scipy.stats import binom, norm

        worse, better = int((apart > 0).sum()), int((apart < 0).sum())
        if worse - better < FEWEST:
            return False
        return bool(binom.sf(worse - 1, worse + better, 0.5) <= norm.sf(critical))
    error = float(apart.std(ddof=1)) / len(apart) ** 0.5 if len(apart) > 1 else np.inf
    return bool(apart.mean() > critical * error)


def _at_best(tables: Tables, trial: int) -> NDArray[np.float32] | None:
    """The values of a trial at its best step."""
    recorded = tables.examples.get(trial)
    if recorded is None or not recorded.values.size:
        return None
    step = _best_steps(tables).get(trial)
    found = None if step is None else recorded.at(step)
    return recorded.values[int(np.argmin(recorded.values.mean(axis=1)))] if found is None else found


@computed_once
def _best_steps(tables: Tables) -> dict[int, int]:
    if "best_step" not in tables.trials.columns:
        return {}
    return dict(tables.trials.select("trial", "best_step").drop_nulls().iter_rows())


def luck_of_steps(tables: Tables, trials: Sequence[int]) -> float:
    """How much lower the best of a trial's steps is than the same step on examples that did not choose it, on average.

    0 without records, or where the objective is not the mean of what they hold.
    """
    found = []
    objective = dict(tables.trials.select("trial", "objective").iter_rows())
    for trial in trials[:MOST_STEPS]:
        recorded = tables.examples.get(trial)
        if recorded is None or recorded.values.shape[0] < 2 or recorded.values.shape[1] < 2:
            continue
        halves = [recorded.values[:, start::2].mean(axis=1) for start in (0, 1)]
        best = float(recorded.values.mean(axis=1).min())
        if not np.isclose(best, abs(objective[trial]), rtol=1e-3, atol=1e-6) and not np.isclose(
            1 - best, objective[trial], rtol=1e-3
        ):
            return 0.0
        judged = [halves[1][int(np.argmin(halves[0]))], halves[0][int(np.argmin(halves[1]))]]
        found.append(float(np.mean(judged)) - best)
    return max(float(np.mean(found)), 0.0) if found else 0.0
