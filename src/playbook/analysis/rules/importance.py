"""Which hyperparameters matter: how much of the order of the trials each explains beside the others.

The method is named in every answer, since there are many and they disagree: a *joint additive model on ranks*, the
share of the variance of the objective's ranks that a smooth curve (a polynomial) in one hyperparameter explains, or the
means of its values where they have no order, beside the curves in the others. Ranks, because a few diverged trials own
nearly all the variance of a raw loss: on one full grid of 62,208 networks the main effects explain 0.57 of the log loss
and 0.026 of the loss itself. Infeasible trials share the last rank. Repeated settings are ranked by their mean.

- A share is more than chance by an F test, with Holm's correction over the hyperparameters. Where the trials are too
  few for all curves at once, each is tested beside those that were found so far.
- What is found among few trials is found because it was lucky. So the share is the one that an estimate as large would
  exceed in half of the studies that find it (the conditional likelihood of Zhong and Prentice, Biostatistics 2008),
  and its interval is a bootstrap's.
- Where some trials failed, the same is asked among those that trained: what keeps training stable is not what makes a
  stable training good.
- What gets into the best tenth is another question again: PED-ANOVA (Watanabe et al., IJCAI 2023), the Pearson
  divergence of the best tenth's density from that of all trials, here with both as series in the same curves.

What two hyperparameters only do together (interactions) is in none of the shares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from playbook.analysis.additive import Additive, Curves, curves
from playbook.analysis.finding import Finding
from playbook.analysis.regret import Values, comparable, losses
from playbook.analysis.repeats import averaged, noun
from playbook.analysis.rules.infeasible import infeasible_trials
from playbook.analysis.tables import Tables, computed_once

METHOD = "joint additive model on ranks"
Among = Literal["all", "trained", "top tenth"]
CLEAR = 4.0
"""So many times the F statistic that was needed, being found says nothing about luck."""


@dataclass(frozen=True)
class Thresholds:
    """What the answer depends on."""

    sure: float = 0.05
    """The chance that some hyperparameter that does nothing is found, of both questions together."""
    interval: float = 0.9
    """The probability of a share's interval."""
    draws: int = 200
    """Of the bootstrap: the ends of a 90 % interval are then known to 1 or 2 % of its probability."""
    groups: int = 200
    """Into which more trials than these are put for the bootstrap, whose cost they are."""
    fewest: int = 8
    """Trials below which nothing can be told."""
    fewest_objectives: int = 3
    """Different objectives below which nothing can be told."""
    fewest_failed: int = 2
    """Trials that failed, from which on those that trained are asked for themselves."""
    fewest_top: int = 5
    """Trials in the best tenth, below which nothing is said of it."""
    degree: int = 4
    """Of the polynomials."""
    degree_of_few: int = 2
    """The same where the trials are few."""
    a_degree: int = 4
    """Trials for each column from which on all curves are fitted at once."""


@dataclass(frozen=True)
class Importance:
    """What one hyperparameter explains in one arm.

    `share` is at least 0, `low` to `high` its interval. `p` is Holm's: the chance that some hyperparameter that does
    nothing has such a share; `certain` is whether it is more than chance.
    """

    arm: str
    key: str
    share: float
    low: float
    high: float
    p: float
    certain: bool


@computed_once
def importance(tables: Tables, arm: str, among: Among = "all", limits: Thresholds = Thresholds()) -> list[Importance]:
    """What each hyperparameter that varies in an arm explains, most first. Empty where the trials are too few.

    Among those that `trained` there is nothing to ask that was not asked among all where (nearly) all trained; in the
    `top tenth` shares are of what was explained, and sum to 1.
    """
    tables = averaged(tables)
    trials, loss = comparable(tables.of_arm(arm)), _loss(tables, arm)
    trained = np.isfinite(loss)
    several = int((~trained).sum()) >= limits.fewest_failed and int(trained.sum()) >= limits.fewest
    if among == "trained":
        if not several:
            return []
        trials, loss = trials.filter(pl.Series(trained)), loss[trained]
    if len(trials) < limits.fewest or len(np.unique(loss)) < limits.fewest_objectives:
        return []
    space = {
        key: each
        for key, each in tables.space.get(arm, {}).items()
        if key not in tables.repeat and key in trials.columns
    }
    if among == "top tenth":
        return _top_tenth(arm, loss, curves(trials, space, limits.degree_of_few), limits)
    sure = limits.sure / (2 if several else 1)
    return _shares(arm, loss, _affordable(trials, space, limits), sure, limits)


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`importance` for each arm that has a space."""
    return [_of_arm(tables, arm, limits) for arm in tables.arms if tables.space.get(arm)]


def _loss(tables: Tables, arm: str) -> Values:
    """The loss of each trial of an arm; what failed has ∞, as does what was judged no better than its start."""
    trials = comparable(tables.of_arm(arm))
    return np.where(trials["trial"].is_in(infeasible_trials(tables)).to_numpy(), np.inf, losses(trials, tables.sign))


def _affordable(trials: pl.DataFrame, space: Mapping[str, Any], limits: Thresholds) -> Curves:
    """The curves of the highest degree that leaves several trials for each column."""
    for degree in range(limits.degree, limits.degree_of_few, -1):
        found = curves(trials, space, degree)
        if sum(found.degrees.values()) * limits.a_degree <= len(trials):
            return found
    return curves(trials, space, limits.degree_of_few)


def _shares(arm: str, loss: Values, given: Curves, sure: float, limits: Thresholds) -> list[Importance]:
    from scipy.special import fdtrc
    from scipy.stats import rankdata

    model = Additive(rankdata(loss), given)
    if not model.keys:
        return []
    whole = model.degrees(model.keys) * limits.a_degree <= model.num_trials
    beside = set(model.keys) if whole else set()
    while True:
        asked = {key: _Asked.of(model, key, beside) for key in model.keys}
        p = holm({key: float(fdtrc(each.degrees, each.spare, each.f)) for key, each in asked.items()})
        more = {key for key in model.keys if p[key] < sure} - beside
        if not more or model.degrees(beside | more) * 2 > model.num_trials:
            break
        beside |= more
    grams = model.bootstrap(limits.draws, limits.groups)
    found = []
    for key, each in asked.items():
        certain = p[key] < sure
        share = each.share_if_found(sure / len(asked)) if certain else max(each.share, 0.0)
        low, high = each.interval(model, grams, share, limits.interval)
        found.append(Importance(arm, key, share, low, high, p[key], certain))
    return sorted(found, key=lambda each: (-each.share, each.p))


@dataclass(frozen=True)
class _Asked:
    """One hyperparameter beside others: the F statistic of its curve, with the `unit` that makes it a share.

    `unit` is the noise of one degree of freedom, as a share of all variance: of a hyperparameter that does nothing the
    curve explains `degrees` of it.
    """

    key: str
    others: tuple[str, ...]
    degrees: int
    spare: int
    f: float
    unit: float

    @classmethod
    def of(cls, model: Additive, key: str, beside: set[str]) -> _Asked:
        """Of a hyperparameter beside those that can be told apart from it."""
        others = tuple(each for each in model.keys if each in beside - {key} - model.tied(key))
        degrees = model.degrees([key])
        spare = max(model.num_trials - 1 - model.degrees(others) - degrees, 1)
        without, left, total = float(model.left(others)), float(model.left([*others, key])), float(model.left([]))
        noise = max(left / spare, 1e-9 * total / spare)
        return cls(key, others, degrees, spare, max(without - left, 0.0) / degrees / noise, noise / total)

    @property
    def share(self) -> float:
        """Explained, less what chance does; below 0 where chance does more."""
        return self.degrees * (self.f - 1) * self.unit

    def share_if_found(self, sure: float) -> float:
        """The share that an estimate as large exceeds in half of the studies whose p-value is below `sure`."""
        from scipy.optimize import brentq
        from scipy.special import fdtri, ncfdtr

        threshold = float(fdtri(self.degrees, self.spare, 1 - sure))
        if self.f > CLEAR * threshold:
            return self.share

        def excess(noncentrality: float) -> float:
            above = 1 - ncfdtr(self.degrees, self.spare, noncentrality, [self.f, min(threshold, self.f)])
            return float(above[0] - 0.5 * above[1])

        most = self.degrees * self.f + 10.0
        if excess(0.0) >= 0 or excess(most) <= 0:
            return 0.0
        return float(brentq(excess, 0.0, most, xtol=1e-3)) * self.unit

    def interval(self, model: Additive, grams: Values, share: float, probability: float) -> tuple[float, float]:
        """Of a share, from the shares of bootstrap draws: as far from it as those lie from their median."""
        without, left = model.left(self.others, grams), model.left([*self.others, self.key], grams)
        drawn = (without - left - self.degrees * left / self.spare) / np.maximum(model.left([], grams), 1e-300)
        low, middle, high = np.quantile(drawn, [(1 - probability) / 2, 0.5, (1 + probability) / 2])
        return float(np.clip(share - (high - middle), 0, share)), float(np.clip(share + (middle - low), share, 1))


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """The p-values as Holm corrects them: each below α only where some hypothesis is false with that confidence."""
    corrected, largest = {}, 0.0
    for place, key in enumerate(sorted(p, key=lambda key: p[key])):
        largest = max(largest, min((len(p) - place) * p[key], 1.0))
        corrected[key] = largest
    return corrected


def _top_tenth(arm: str, loss: Values, given: Curves, limits: Thresholds) -> list[Importance]:
    """PED-ANOVA: the divergence of the best tenth from all, each as a series in the same orthogonal curves.

    The mean of a column over the best tenth is that column's coefficient in the ratio of the densities, so the
    divergence is the sum of their squares; chance alone makes it χ².
    """
    from scipy.special import chdtrc

    count = len(loss) // 10
    if count < limits.fewest_top or not given.columns:
        return []
    best = loss <= np.sort(loss)[count - 1]
    if best.sum() > 2 * count:  # so many tie for the best that it is no tenth
        return []
    chance = 1 / best.sum() - 1 / len(loss)
    raw = {key: float((each[best].mean(axis=0) ** 2).sum()) for key, each in given.columns.items()}
    p = holm({key: float(chdtrc(given.degrees[key], each / chance)) for key, each in raw.items()})
    divergence = {key: max(each - given.degrees[key] * chance, 0.0) for key, each in raw.items()}
    total = sum(divergence.values()) or 1.0
    found = [
        Importance(arm, key, each / total, np.nan, np.nan, p[key], p[key] < limits.sure)
        for key, each in divergence.items()
    ]
    return sorted(found, key=lambda each: (-each.share, each.p))


def _of_arm(tables: Tables, arm: str, limits: Thresholds) -> Finding:
    found, trained = importance(tables, arm, "all", limits), importance(tables, arm, "trained", limits)
    top = importance(tables, arm, "top tenth", limits)
    total = len(comparable(averaged(tables).of_arm(arm)))
    counted = f"{total} {noun(tables)}"
    certain = [each for each in found if each.certain]
    if not found:
        message = f"{counted} cannot tell which hyperparameter matters."
    elif not certain:
        message = f"With {counted} no hyperparameter can be told from chance ({METHOD})."
    else:
        message = (
            f"What explains the order of the {counted} ({METHOD}, {limits.interval:.0%} intervals; interactions are in"
            f" none): {_listed(certain)}."
        )
        rest = [each.key for each in found if not each.certain]
        message += f" Not to be told from chance: {', '.join(rest)}." if rest else ""
    if among_trained := [each for each in trained if each.certain]:
        message += f" Among those that trained: {_listed(among_trained)}."
    if into_top := [f"{each.key} {each.share:.0%}" for each in top if each.certain]:
        message += f" What gets into the best tenth (PED-ANOVA): {', '.join(into_top)}."
    evidence = {
        "method": METHOD,
        "trials": total,
        **_numbers(found),
        "trained": _numbers(trained) if trained else None,
        "top_tenth": {each.key: round(each.share, 4) for each in top} if top else None,
    }
    parameter = certain[0].key if certain else among_trained[0].key if among_trained else None
    return Finding("importance", "info", "B10", message, arm=arm, parameter=parameter, evidence=evidence)


def _listed(found: list[Importance]) -> str:
    return ", ".join(f"{each.key} {each.share:.0%} ({each.low:.0%} to {each.high:.0%})" for each in found)


def _numbers(found: list[Importance]) -> dict[str, Any]:
    return {
        "shares": {each.key: round(each.share, 4) for each in found},
        "p": {each.key: round(each.p, 4) for each in found},
        "intervals": {each.key: [round(each.low, 4), round(each.high, 4)] for each in found},
    }
