"""Which arm is best, and whether that is more than the luck of the draw (B3, B9).

Each arm had its own search, and the best of a search is a matter of luck as well. So arms are compared by searches of
half the length: if half of one arm's trials, drawn at random, nearly always hold a better one than half of the
other's, then the order does not hang on one lucky trial. The share is exact, from the ranks; no draw is made. In
300 studies of two equal arms of 16 trials it was over 0.975 for one of them in 3 %.

It is about the search (study variance). Whether the winner is better when it is trained again with other seeds
(retrain variance, B11) is not in these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.regret import Values, comparable, losses
from playbook.analysis.repeats import averaged
from playbook.analysis.rules.best_of_n import best_is
from playbook.analysis.tables import Tables, computed_once
from playbook.text import listed


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    beyond_luck: float = 0.975
    """The share of half-length searches that an arm must win to be better."""
    fewest: int = 6
    """Trials of an arm: half of fewer can be told from nothing."""


@dataclass(frozen=True)
class Comparison:
    """The best arm against another one.

    `share` is the probability that the better of two half-length searches is the best arm's, ties counted half.
    """

    best: str
    other: str
    best_objective: float
    other_objective: float | None
    best_trials: int
    other_trials: int
    share: float
    verdict: Literal["better", "cannot tell"]


def summary(tables: Tables) -> pl.DataFrame:
    """A row an arm, best first: `arm`, `trials`, `infeasible`, `best`, `trial`, and the `median` of the feasible.

    Where settings are repeated, each counts as one trial with its mean.
    """
    tables = averaged(tables)
    rows = []
    for arm in tables.arms:
        counted, ranked = comparable(tables.of_arm(arm)), tables.ranked(arm)
        best, trial = (ranked["objective"][0], ranked["trial"][0]) if len(ranked) else (None, None)
        rows.append((arm, len(counted), len(counted) - len(ranked), best, trial, ranked["objective"].median()))
    schema = {
        "arm": pl.String(),
        "trials": pl.Int64(),
        "infeasible": pl.Int64(),
        "best": pl.Float64(),
        "trial": pl.Int64(),
        "median": pl.Float64(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row").sort(
        pl.col("best") * tables.sign, nulls_last=True, maintain_order=True
    )


@computed_once
def comparisons(tables: Tables, limits: Thresholds = Thresholds()) -> list[Comparison]:
    """The best arm against each of the others, best first. Empty where there are no two arms or nothing is feasible."""
    arms = summary(tables)
    if len(arms) < 2 or arms["best"][0] is None:
        return []
    loss = {arm: losses(comparable(averaged(tables).of_arm(arm)), tables.sign) for arm in arms["arm"]}
    best, *others = arms.iter_rows(named=True)
    found = []
    for other in others:
        share = share_of_wins(loss[best["arm"]], loss[other["arm"]])
        enough = min(best["trials"], other["trials"]) >= limits.fewest
        found.append(
            Comparison(
                best["arm"],
                other["arm"],
                best["best"],
                other["best"],
                best["trials"],
                other["trials"],
                share,
                "better" if enough and share >= limits.beyond_luck else "cannot tell",
            )
        )
    return found


def share_of_wins(one: Values, other: Values) -> float:
    """The probability that half of one arm's losses hold a lower one than half of the other's; ties count half.

    Both halves have the size of the smaller arm's half, so that the arm with more trials has no advantage.
    """
    if not len(one) or not len(other):
        return float("nan")
    half = max(min(len(one), len(other)) // 2, 1)
    values = np.unique(np.concatenate([one, other]))
    of_one, of_other = _best_of(half, one, values), _best_of(half, other, values)
    worse = 1 - np.cumsum(of_other)  # P(the other's best > each value)
    return float(min(max(np.dot(of_one, worse + of_other / 2), 0.0), 1.0))


def _best_of(n: int, loss: Values, values: Values) -> Values:
    """The probability that each of `values` is the best of n of the losses."""
    found: Values = np.zeros(len(values))
    np.add.at(found, np.searchsorted(values, np.sort(loss)), best_is(len(loss), n, replacement=False))
    return found


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`arms`, where there are two or more."""
    compared = comparisons(tables, limits)
    if not compared:
        return []
    best, rows = compared[0], summary(tables)
    beaten = [each.other for each in compared if each.verdict == "better"]
    rest = [each.other for each in compared if each.verdict == "cannot tell"]
    value = f"{tables.objective.metric} {best.best_objective:.4g}{' on average over its repeats' * bool(tables.repeat)}"
    tied = [each.other for each in compared if each.other_objective == best.best_objective]
    message = f"The best {'setting' if tables.repeat else 'trial'} is of {best.best} ({value})."
    if tied:
        message = f"{listed([best.best, *tied])} tie for the best ({value})."
    if beaten:
        message += f" That arm is better than {listed(beaten)} beyond what the luck of a search explains."
    if rest:
        message += f" Against {listed(rest)} it cannot be told: half as many trials often say the opposite."
    if not tables.repeat:
        message += " Seeds are another matter: retrain before adopting (B11)."
    evidence = {
        "arms": rows.to_dicts(),
        "shares": {each.other: round(each.share, 4) for each in compared},
        "beyond_luck": limits.beyond_luck,
    }
    return [Finding("arms", "info", "B3", message, trials=tuple(rows["trial"].drop_nulls()), evidence=evidence)]
