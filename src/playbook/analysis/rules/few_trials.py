"""Would more trials find better ones (B6, E4, G6)?

The best of n always falls with n, and half of all studies of twice the length find a better trial. What counts is by
how much the *true* loss of the best setting would fall: `playbook.analysis.tail` forecasts it, with what is known of
the noise, and says with which probability it is worth the trials. Where that is neither likely nor unlikely, the answer
is that it cannot be told. Where the settings differ no more than one setting with other seeds does, it is no.

On studies of 16 to 128 trials from twelve full tables of networks the forecast told those that gain from doubling from
the others with an area under the curve of 0.75 where the noise was known, mostly by the population that they come from;
where it had to be estimated from the surface, with no more than 0.5 to 0.56, which is chance. So trials are called few
only where repeats or examples say what the noise is, and that they are enough is never said: there is no finding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.noise_of_trials import noise_of
from playbook.analysis.regret import Values, losses, regret
from playbook.analysis.rules.best import is_level
from playbook.analysis.rules.best_of_n import tries
from playbook.analysis.rules.insensitive import is_insensitive
from playbook.analysis.tables import Tables, computed_once
from playbook.analysis.tail import forecast

Verdict = Literal["enough", "equal", "few", "far too few", "cannot tell"]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    worth: float = 0.5
    """A gain that is worth as many trials again, in standard deviations of one trial's noise."""
    worth_of_way: float = 0.05
    """The same as a share of the way from the typical trial to the best: however small the noise, less is no matter."""
    likely: float = 0.7
    """The probability of such a gain, from which on the trials are few."""
    very_likely: float = 0.9
    """The same for far too few."""
    unlikely: float = 0.2
    """The probability up to which they are enough."""
    noises: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0)
    """What the noise may be where it is unknown, as a share of the way from the typical trial to the best."""
    good: float = 0.25
    """The regret of a good trial: it has gone at least three quarters of that way."""
    few_good: int = 3
    """Good trials from which on they are never far too few."""
    fewest: int = 5
    """Trials below which nothing can be told."""
    fewest_feasible: int = 3
    """Feasible trials below which nothing can be told."""


@dataclass(frozen=True)
class Sampling:
    """Whether an arm has been tried enough.

    `gain` is what as many trials again are expected to take off the true loss of the best setting, `low` to `high` its
    80 % interval, `likely` the probability that it is worth them: NaN where it cannot be told. In `unit`: `noise`, the
    standard deviations of one trial's, or `way`, shares of the way from the typical trial to the best. `good` counts
    the trials with at least three quarters of that way.
    """

    num_trials: int
    feasible: int
    good: int
    verdict: Verdict
    gain: float = math.nan
    low: float = math.nan
    high: float = math.nan
    likely: float = math.nan
    unit: Literal["noise", "way"] = "noise"


@computed_once
def sampling(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> Sampling:
    """The verdict on an arm (B6)."""
    loss = losses(tries(tables, arm), tables.sign)
    lost = regret(loss)
    total, feasible, good = len(loss), int(np.isfinite(loss).sum()), int((lost <= limits.good).sum())
    if total < limits.fewest or feasible < limits.fewest_feasible:
        return Sampling(total, feasible, good, "cannot tell")
    if is_level(tables, arm) or is_insensitive(tables, arm):
        return Sampling(total, feasible, good, "equal")
    in_noise = _in_noise(tables, loss)
    if in_noise is None:
        found = forecast(np.where(np.isfinite(loss), lost, np.inf), total, limits.noises)
    else:
        found = forecast(in_noise, total, (1.0,))
    if found is None:  # the better half is one value
        return Sampling(total, feasible, good, "enough")
    worth = limits.worth_of_way
    if in_noise is not None:
        worth = max(limits.worth, worth * float(np.median(in_noise[np.isfinite(in_noise)])))
    likely = found.over(worth)
    verdict: Verdict = "cannot tell"
    if likely >= limits.likely and noise_of(tables).source in ("repeats", "examples"):
        verdict = "far too few" if likely >= limits.very_likely and good < limits.few_good else "few"
    elif likely <= limits.unlikely:
        verdict = "enough"
    low, high = found.quantile(0.1), found.quantile(0.9)
    unit: Literal["noise", "way"] = "way" if in_noise is None else "noise"
    return Sampling(total, feasible, good, verdict, found.mean, low, high, likely, unit)


def _in_noise(tables: Tables, loss: Values) -> Values | None:
    """The losses in standard deviations of one trial's noise, from the best; None where it is unknown."""
    noise, best = noise_of(tables), loss.min()
    if noise.of_one is None or not noise.of_one > 0:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if noise.relative is not None:
            return np.log(loss / best) / noise.relative
        return np.where(np.isfinite(loss), loss / noise.of_one - best / noise.of_one, np.inf)


def is_whole(tables: Tables, arm: str) -> bool:
    """Whether every setting of an arm has been tried: a grid, or one setting with several seeds."""
    sizes_of = [
        dimension.size
        for key, dimension in tables.space.get(arm, {}).items()
        if key not in tables.repeat and not (key in tables.scientific and dimension.size)
    ]
    return (
        arm in tables.space
        and None not in sizes_of
        and len(tries(tables, arm)) >= math.prod(each for each in sizes_of if each is not None)
    )


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`few_trials` for each arm, unless its trials are enough or there is nothing more to try.

    It is information where it cannot be told, and where more trials would not help.
    """
    found = [_of_arm(tables, arm, limits) for arm in tables.arms if not is_whole(tables, arm)]
    return [each for each in found if each is not None]


def _of_arm(tables: Tables, arm: str, limits: Thresholds) -> Finding | None:
    found = sampling(tables, arm, limits)
    if found.verdict == "enough":
        return None
    evidence: dict[str, Any] = {
        "trials": found.num_trials,
        "feasible": found.feasible,
        "good": found.good,
        "verdict": found.verdict,
        "gain": found.gain,
        "interval": [found.low, found.high],
        "unit": found.unit,
        "p": found.likely,
    }
    severity: Severity = "info"
    if found.verdict == "equal":
        message = (
            f"More trials will not find better ones: the {found.num_trials} differ no more than one setting with other"
            " seeds would."
        )
        return Finding("few_trials", severity, "B6", message, arm=arm, evidence=evidence)
    if math.isnan(found.gain):
        message = (
            f"{found.num_trials} trials, {found.feasible} of them feasible, cannot tell whether more would find better."
        )
    else:
        amount = f"{_amount(found.gain, found)} ({_amount(found.low, found)} to {_amount(found.high, found)}, 80 %)"
        of = "the noise of one trial" if found.unit == "noise" else "the way from the typical trial to the best"
        enough = "too few" if found.verdict != "cannot tell" else "enough, or not: it cannot be told"
        message = (
            f"{found.num_trials} trials are {enough}. As many again would make the best setting better by {amount}"
            f" {of}, and {found.good} {'trial is' if found.good == 1 else 'trials are'} in the good region."
        )
    if found.verdict in ("few", "far too few"):
        severity = "problem" if found.verdict == "far too few" else "advice"
    remedy = (Remedy({"study.n_trials": 2 * len(tables.trials)}),)
    return Finding("few_trials", severity, "B6", message, arm=arm, evidence=evidence, next=remedy)


def _amount(gain: float, found: Sampling) -> str:
    return f"{gain:.1f} ×" if found.unit == "noise" else f"{gain:.0%} of"
