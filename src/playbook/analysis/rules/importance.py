"""Which hyperparameters matter: how much of the order of the trials each explains alone.

The method is named in every answer, since there are many and they disagree: the *main effect on ranks*, the share of
the variance of the objective's ranks that a smooth curve (a polynomial) in one hyperparameter explains, or the means
of its values where they have no order. Ranks, because a few diverged trials own nearly all the variance of a raw
loss: on one full grid of 62,208 networks the main effects explain 0.57 of the log loss and 0.026 of the loss itself.
Infeasible trials share the last rank. Settings that are repeated are ranked by their mean.

What two hyperparameters only do together (interactions) is in none of the shares. A share is adjusted for what a curve
explains of pure chance, and shuffled ranks say how often chance does as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.position import positions
from playbook.analysis.regret import Values, comparable, losses
from playbook.analysis.repeats import averaged, noun
from playbook.analysis.tables import Tables, computed_once
from playbook.study.space import Dimension
from playbook.validation import show

METHOD = "main effect on ranks"


@dataclass(frozen=True)
class Thresholds:
    """What the answer depends on."""

    sure: float = 0.05
    """Of the p-value, below which a share is more than chance."""
    shuffles: int = 999
    """Of the ranks, that say what chance does."""
    fewest: int = 8
    """Trials below which nothing can be told."""
    fewest_objectives: int = 3
    """Different objectives below which nothing can be told."""
    trials_a_value: int = 3
    """Trials per value below which an unordered list says nothing: its means are then the trials themselves."""
    degree: int = 4
    """Of the polynomials."""
    degree_of_few: int = 2
    """The same where the trials are few."""
    few: int = 30
    """Trials below which they are."""


@dataclass(frozen=True)
class Importance:
    """What one hyperparameter explains in one arm.

    `share` is at least 0, and `p` how often shuffled ranks give as large a share for *some* hyperparameter of the arm;
    `certain` is whether it is more than chance.
    """

    arm: str
    key: str
    share: float
    p: float
    certain: bool


@computed_once
def importance(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> list[Importance]:
    """What each hyperparameter that varies in an arm explains, most first. Empty where the trials are too few."""
    from scipy.stats import rankdata

    trials = comparable(averaged(tables).of_arm(arm))
    loss = losses(trials, tables.sign)
    if len(trials) < limits.fewest or len(np.unique(loss)) < limits.fewest_objectives:
        return []
    ranks = rankdata(loss)
    ranks = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    space = {key: each for key, each in tables.space.get(arm, {}).items() if key not in tables.repeat and key in trials}
    curves = {key: _curves(trials[key], each, limits) for key, each in space.items()}
    curves = {key: each for key, each in curves.items() if each is not None}
    if not curves:
        return []
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(np.tile(ranks, (limits.shuffles, 1)), axis=1)
    found, chance = {}, []
    for key, curve in curves.items():
        assert curve is not None
        degrees = curve.shape[1]

        def adjusted(explained: Values, degrees: int = degrees) -> Values:
            return 1 - (1 - explained) * (len(ranks) - 1) / (len(ranks) - 1 - degrees)

        found[key] = float(adjusted(np.atleast_1d(((ranks @ curve) ** 2).sum()))[0])
        chance.append(adjusted(((shuffled @ curve) ** 2).sum(axis=1)))
    luckiest = np.max(chance, axis=0)
    p = {key: float((1 + (luckiest >= share).sum()) / (1 + limits.shuffles)) for key, share in found.items()}
    shares = [Importance(arm, key, max(share, 0.0), p[key], p[key] < limits.sure) for key, share in found.items()]
    return sorted(shares, key=lambda each: (-each.share, each.p))


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`importance` for each arm that has a space."""
    return [finding for arm in tables.arms for finding in _of_arm(tables, arm, limits)]


def _of_arm(tables: Tables, arm: str, limits: Thresholds) -> list[Finding]:
    found, total = importance(tables, arm, limits), len(comparable(averaged(tables).of_arm(arm)))
    counted = f"{total} {noun(tables)}"
    if not tables.space.get(arm):
        return []
    certain = [each for each in found if each.certain]
    rest = [each.key for each in found if not each.certain]
    if not found:
        message = f"{counted} cannot tell which hyperparameter matters."
    elif not certain:
        message = f"With {counted} no hyperparameter can be told from chance ({METHOD})."
    else:
        shares = ", ".join(f"{each.key} {each.share:.0%}" for each in certain)
        message = f"What explains the order of the trials ({METHOD}; interactions are in none): {shares}."
        if rest:
            message += f" Not to be told from chance: {', '.join(rest)}."
    evidence = {
        "method": METHOD,
        "trials": total,
        "shares": {each.key: round(each.share, 4) for each in found},
        "p": {each.key: round(each.p, 4) for each in found},
    }
    parameter = certain[0].key if certain else None
    return [Finding("importance", "info", "B10", message, arm=arm, parameter=parameter, evidence=evidence)]


def _curves(column: pl.Series, dimension: Dimension, limits: Thresholds) -> Values | None:
    """Orthonormal columns, each of mean 0, that span the curves in a hyperparameter; None where it says nothing."""
    if dimension.is_ordered:
        where = positions(column, dimension)
        distinct = len(np.unique(where))
        if not np.isfinite(where).all() or distinct < 2:
            return None
        degree = min(distinct - 1, limits.degree_of_few if len(where) < limits.few else limits.degree)
        raw = np.polynomial.legendre.legvander(2 * where - 1, degree)[:, 1:]
    else:
        names = [show(value) for value in column.to_list()]
        values = sorted(set(names))
        if len(values) < 2 or len(names) < limits.trials_a_value * len(values):
            return None
        raw = np.array([[float(name == value) for value in values[1:]] for name in names])
    basis, triangle = np.linalg.qr(raw - raw.mean(axis=0))
    kept = np.abs(np.diag(triangle)) > 1e-9 * np.abs(triangle).max()
    return basis[:, kept]
