"""Does anything that was varied matter (G8)?

Sometimes nothing does: the settings differ no more than one setting with other seeds would. Then the answer is not one
of them, and neither are more of them. It is said where the scatter of the settings' true values is surely no larger
than the noise of one trial (an equivalence, by the χ² interval of a variance), and with the bound: nothing that was
varied matters by more than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from playbook.analysis.finding import Finding
from playbook.analysis.noise_of_trials import noise_of
from playbook.analysis.regret import comparable
from playbook.analysis.repeats import averaged, noun, trained_settings
from playbook.analysis.rules.best import in_noise
from playbook.analysis.rules.importance import importance
from playbook.analysis.rules.infeasible import infeasible_trials
from playbook.analysis.tables import Tables, computed_once
from playbook.text import brief, listed


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    within: float = 1.25
    """The largest standard deviation of settings, in that of one trial's noise, at which nothing matters: 16 settings
    that are equal are found to be so in most studies, and of those that differ by as much as the noise one in seven."""
    sure: float = 0.95
    """The confidence of that bound."""
    fewest: int = 4
    """Settings below which nothing was varied to speak of."""
    most_failed: float = 0.1
    """The share of infeasible trials from which on something matters: whether they train."""


@dataclass(frozen=True)
class Scatter:
    """Of the true values of an arm's settings: their standard deviation is `at_most`, in the objective's units.

    `noise` is that of one trial; `settings` how many were compared.
    """

    settings: int
    at_most: float
    noise: float


@computed_once
def scatter(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> Scatter | None:
    """How much the settings of an arm differ at most; None where the noise is unknown or the settings are too few."""
    from scipy.special import fdtri

    tried, noise = trained_settings(tables, arm), noise_of(tables)
    if len(tried) < limits.fewest or noise.of_one is None or not noise.of_one > 0:
        return None
    lost, sds = in_noise(tried, noise)
    degrees = len(tried) - 1
    of_noise = float(np.mean(sds**2))
    seen = float(np.var(lost, ddof=1)) / of_noise
    least = float(fdtri(degrees, min(noise.degrees, 1e6), 1 - limits.sure))
    above = max(seen / least - 1, 0.0) * of_noise
    return Scatter(len(tried), float(np.sqrt(above)) * noise.of_one, noise.of_one)


@computed_once
def is_insensitive(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> bool:
    """Whether nothing that was varied in an arm matters."""
    found = scatter(tables, arm, limits)
    trials = comparable(averaged(tables).of_arm(arm))
    failed = infeasible_trials(averaged(tables))
    return (
        found is not None
        and found.at_most <= limits.within * found.noise
        and trials["trial"].is_in(failed).sum() <= limits.most_failed * len(trials)
        and not any(each.certain for each in importance(tables, arm))
    )


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`insensitive` for each arm in which nothing that was varied matters."""
    return [
        _finding(tables, arm, limits)
        for arm in tables.arms
        if _varied(tables, arm) and is_insensitive(tables, arm, limits)
    ]


def _varied(tables: Tables, arm: str) -> list[str]:
    trials = tables.of_arm(arm)
    return [
        key
        for key in tables.space.get(arm, {})
        if key not in tables.repeat and key in trials.columns and trials[key].n_unique() > 1
    ]


def _finding(tables: Tables, arm: str, limits: Thresholds) -> Finding:
    found = scatter(tables, arm, limits)
    assert found is not None, "an arm that is insensitive has a scatter"
    keys = _varied(tables, arm)
    message = (
        f"Nothing that was varied ({listed(keys)}) matters by more than {brief(2 * found.at_most, digits=2)}: the"
        f" {found.settings} {noun(tables)} differ no more than one of them with other seeds would (noise"
        f" {brief(found.noise, digits=2)}). Fix it all where it is simplest and cheapest, and look elsewhere: at the"
        " data and their labels, the capacity of the model, and the best that can be reached at all."
    )
    evidence: dict[str, Any] = {
        "parameters": keys,
        "trials": found.settings,
        "at_most": 2 * found.at_most,
        "noise": found.noise,
        "noise_from": noise_of(tables).source,
    }
    return Finding("insensitive", "advice", "G8", message, arm=arm, evidence=evidence)
