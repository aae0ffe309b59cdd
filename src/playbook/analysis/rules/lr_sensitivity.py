"""How much a setting suffers when the learning rate is off: one number an arm (G2).

The lr sensitivity of Wortsman et al. (arXiv 2309.14322): the loss above the best one, averaged over three orders of
magnitude of learning rates, no loss counted as worse than that of a model that was not trained. Here over the learning
rates at most a factor of √1000 from the best one, as far as they were searched, evenly in log lr. Where other
hyperparameters vary, a learning rate is judged by the best that they make of it, in buckets. An arm that is as good at
its best, and less sensitive, is the one to build on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.regret import comparable, losses
from playbook.analysis.repeats import averaged
from playbook.analysis.rules.stability_edge import learning_rates
from playbook.analysis.tables import Tables, computed_once
from playbook.text import brief


@dataclass(frozen=True)
class Thresholds:
    """What the number depends on."""

    orders: float = 3.0
    """Of magnitude, that are averaged over: the paper's."""
    least: float = 1.0
    """The same, that must have been searched within these: the drop of less is no sensitivity."""
    fewest: int = 4
    """Learning rates, or buckets of them."""
    in_a_bucket: int = 4
    """Trials in each of them, where other hyperparameters vary."""


@dataclass(frozen=True)
class Sensitivity:
    """`loss` above the `best` one (both in the objective's units), on average over learning rates `low` to `high`.

    `start` is the objective of a model that was not trained, the worst that counts, and `of_start` the share of the way
    from the best to it that is lost: what can be compared between arms, and between objectives.
    """

    key: str
    loss: float
    of_start: float
    best: float
    start: float
    low: float
    high: float
    points: int


@computed_once
def lr_sensitivity(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> Sensitivity | None:
    """That of an arm; None where not one learning rate varies, over a decade at least."""
    found = learning_rates(tables, arm)
    trials = comparable(averaged(tables).of_arm(arm))
    if len(found) != 1 or found[0] not in trials.columns:
        return None
    key = found[0]
    trials = trials.filter(pl.col(key) > 0)
    loss, lr = losses(trials, tables.sign), trials[key].to_numpy().astype(np.float64)
    finite = loss[np.isfinite(loss)]
    if not len(finite):
        return None
    start = _start(tables, finite)
    loss, middle = np.minimum(loss, start), np.log10(lr[int(np.argmin(loss))])
    near = np.abs(np.log10(lr) - middle) <= limits.orders / 2 + 1e-9
    place, loss = np.log10(lr[near]), loss[near]
    order = np.argsort(place, kind="stable")
    others = [each for each in tables.space[arm] if each != key and each in trials.columns]
    alone = not any(trials[each].n_unique() > 1 for each in others if each not in tables.repeat)
    groups = np.array_split(order, len(order) if alone else max(len(order) // limits.in_a_bucket, 1))
    at = np.array([place[group].mean() for group in groups])
    reached = np.array([loss[group].min() for group in groups])
    if len(groups) < limits.fewest or at[-1] - at[0] < limits.least:
        return None
    best = float(reached.min())
    unit = start - best
    if not unit > 0 or not np.isfinite(unit):
        return None
    lost = (reached - best) / unit
    of_start = float(np.trapezoid(lost, at) / (at[-1] - at[0]))
    return Sensitivity(
        key,
        of_start * unit,
        of_start,
        best * tables.sign,
        start * tables.sign,
        float(10 ** at[0]),
        float(10 ** at[-1]),
        len(groups),
    )


def _start(tables: Tables, finite: np.ndarray) -> float:
    """The loss of a model that was not trained: chance, else the median first evaluation, else the worst that ended."""
    if tables.chance is not None:
        return tables.chance * tables.sign
    of_objective = tables.curves.filter(pl.col("metric") == tables.objective.metric)
    firsts = of_objective.sort("step").group_by("trial").agg(pl.col("value").first())["value"]
    firsts = firsts.filter(firsts.is_finite())
    if len(firsts):
        return float(np.median(firsts.to_numpy())) * tables.sign
    return float(finite.max())


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`lr_sensitivity` for each arm that has it."""
    return [
        _finding(tables, arm, found)
        for arm in tables.arms
        if (found := lr_sensitivity(tables, arm, limits)) is not None
    ]


def _finding(tables: Tables, arm: str, found: Sensitivity) -> Finding:
    message = (
        f"Over {found.key} from {found.low:.2g} to {found.high:.2g} {tables.objective.metric} is on average"
        f" {brief(found.loss, digits=2)} worse than at its best, {found.of_start:.0%} of what training gained."
    )
    evidence = {
        "sensitivity": found.loss,
        "of_start": found.of_start,
        "best": found.best,
        "start": found.start,
        "low": found.low,
        "high": found.high,
        "points": found.points,
    }
    return Finding("lr_sensitivity", "info", "G2", message, arm=arm, parameter=found.key, evidence=evidence)
