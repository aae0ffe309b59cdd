"""Have we tried enough? The best of n trials against n, and how many trials are good (B6, E4).

The playbook simulates studies of n trials by drawing n of the N trials at hand, and shows the best of them as box
plots. No draw is needed: the distribution of the best of n follows from the order of the values alone.

- *Without* replacement (Tang et al. 2020) the expected best of n is unbiased: the estimate of what a study of n trials
  would have found.
- *With* replacement (Dodge et al. 2019) is the bootstrap: it keeps a spread up to n = N, which the box plots show.

Both take infeasible trials as the worst value: they cost a trial.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.regret import Values, comparable, losses, regret, robust
from playbook.analysis.repeats import averaged
from playbook.analysis.tables import Tables

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on.

    The median of `falling` of noisy parabolas in 1 to 8 dimensions: 0.2 with 8 trials, 0.10 to 0.16 with 16, 0.06 to
    0.10 with 32, 0.04 to 0.07 with 64.
    """

    good: float = 0.25
    """The regret of a good trial: it has gone at least three quarters of the way from the typical one to the best."""
    falling: float = 0.12
    """The share of the way from typical to best, with the second half of the trials, from which on it still falls."""
    falling_fast: float = 0.22
    """The same where it falls fast."""
    few_good: int = 3
    """Good trials below which, where it falls fast, the trials are far too few."""
    fewest: int = 5
    """Trials below which nothing can be told."""
    fewest_feasible: int = 3
    """Feasible trials below which nothing can be told."""


def expected(values: Sequence[float], n: Sequence[int], mode: Mode, *, replacement: bool) -> Values:
    """The expected best of n of the N `values`, for each n.

    Infinite values are allowed: the expectation is then infinite wherever one of them can be the best. n is at most N
    without replacement.
    """
    ordered, counts = _ordered(values, mode), _counts(values, n, replacement)
    best = np.array([_mean(ordered, best_is(len(ordered), int(each), replacement)) for each in counts])
    return best if mode == "min" else -best


def quantile(values: Sequence[float], n: Sequence[int], p: float, mode: Mode, *, replacement: bool) -> Values:
    """The p-quantile of the best of n of the N `values`, for each n: the least value v with P(best ≤ v) ≥ p."""
    if not 0 <= p <= 1:
        raise ValueError(f"p={p}: allowed is 0 to 1")
    ordered, counts = _ordered(values, mode), _counts(values, n, replacement)
    found = []
    for each in counts:
        weights = best_is(len(ordered), int(each), replacement)
        if mode == "max":  # in the order of the values themselves
            weights = weights[::-1]
        reached = np.cumsum(weights) >= p - 1e-12  # sums of weights miss a round p by the last bits
        place = int(np.argmax(reached & (weights > 0)))
        found.append(ordered[place] if mode == "min" else -ordered[::-1][place])
    return np.array(found)


def box_plots(values: Sequence[float], n: Sequence[int], mode: Mode) -> pl.DataFrame:
    """A box a row (F3): `n`, `low` and `high` (the 5th and 95th percentiles), `lower`, `median`, `upper`, with
    replacement, and `expected` without."""
    levels = {"low": 0.05, "lower": 0.25, "median": 0.5, "upper": 0.75, "high": 0.95}
    boxes = {name: quantile(values, n, p, mode, replacement=True) for name, p in levels.items()}
    return pl.DataFrame({"n": list(n), **boxes, "expected": expected(values, n, mode, replacement=False)})


def sizes(num_trials: int, at_most: int = 24) -> list[int]:
    """Numbers of trials to show: all of 1…N where they are few, else evenly spread by ratio, both ends among them."""
    if num_trials <= at_most:
        return list(range(1, num_trials + 1))
    return sorted({round(float(each)) for each in np.geomspace(1, num_trials, at_most)})


def tries(tables: Tables, arm: str) -> pl.DataFrame:
    """`status` and `objective` of each setting that was tried in an arm; repeats of one are one, with their mean."""
    return comparable(averaged(tables).of_arm(arm))


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


def values_of(tables: Tables, arm: str) -> list[float]:
    """The objective of each trial of an arm, for the functions above: an infeasible one has the worst that there is.

    A crash does not count. The worst is chance, where it is known and worse than every other; a monstrous loss of a
    trial that diverged is no worse than that either. Empty where no trial is feasible.
    """
    loss = losses(tries(tables, arm), tables.sign)
    usual = robust(loss)
    if not len(usual):
        return []
    chance = -np.inf if tables.chance is None else tables.chance * tables.sign
    return [float(each) for each in np.minimum(loss, max(float(usual[-1]), chance)) * tables.sign]


@dataclass(frozen=True)
class Sampling:
    """Whether an arm has been tried enough, in numbers.

    `good` counts the trials with at least three quarters of the way from the typical trial to the best. `falling` is
    what the second half of the trials was worth: the expected best of N/2 less the best, as a share of that way.
    """

    num_trials: int
    feasible: int
    good: int
    falling: float
    verdict: Literal["enough", "few", "far too few", "cannot tell"]


def sampling(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> Sampling:
    """The verdict on an arm (B6)."""
    loss = losses(tries(tables, arm), tables.sign)
    feasible = int(np.isfinite(loss).sum())
    lost = np.minimum(regret(loss), 1.0)  # from the typical trial on it does not matter how bad
    good = int((lost <= limits.good).sum())
    if len(loss) < limits.fewest or feasible < limits.fewest_feasible:
        return Sampling(len(loss), feasible, good, float("nan"), "cannot tell")
    falling = float(expected(list(lost), [len(loss) // 2], "min", replacement=False)[0])
    if falling >= limits.falling_fast and good < limits.few_good:
        return Sampling(len(loss), feasible, good, falling, "far too few")
    return Sampling(len(loss), feasible, good, falling, "few" if falling >= limits.falling else "enough")


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`few_trials` for each arm whose best-of-n curve still falls or whose trials are too few to tell.

    Where there is nothing more to try, it is not said that there is.
    """
    return [finding for arm in tables.arms if not is_whole(tables, arm) for finding in _of_arm(tables, arm, limits)]


def _of_arm(tables: Tables, arm: str, limits: Thresholds) -> list[Finding]:
    found = sampling(tables, arm, limits)
    if found.verdict == "enough":
        return []
    evidence: dict[str, Any] = {
        "trials": found.num_trials,
        "feasible": found.feasible,
        "good": found.good,
        "falling": None if np.isnan(found.falling) else round(found.falling, 4),
    }
    total = 2 * len(tables.trials)
    remedy = (Remedy({"study.n_trials": total}),)
    if found.verdict == "cannot tell":
        message = (
            f"{found.num_trials} trials, {found.feasible} of them feasible, cannot tell whether more would find better."
        )
        return [Finding("few_trials", "info", "B6", message, arm=arm, evidence=evidence, next=remedy)]
    message = (
        f"The best of n trials still falls: the second half of the {found.num_trials} trials brought"
        f" {found.falling:.0%} of the way from the typical trial to the best,"
        f" and {found.good} {'trial is' if found.good == 1 else 'trials are'} in the good region."
    )
    severity: Literal["problem", "advice"] = "problem" if found.verdict == "far too few" else "advice"
    return [Finding("few_trials", severity, "B6", message, arm=arm, evidence=evidence, next=remedy)]


def _ordered(values: Sequence[float], mode: Mode) -> Values:
    """Best first, as losses."""
    loss = np.asarray(values, dtype=np.float64) * (1 if mode == "min" else -1)
    if loss.ndim != 1 or not len(loss) or np.isnan(loss).any():
        raise ValueError("values: allowed is a list of one or more numbers; infinities may be among them, NaN not")
    return np.sort(loss)


def _counts(values: Sequence[float], n: Sequence[int], replacement: bool) -> NDArray[np.int64]:
    counts = np.asarray(n, dtype=np.int64)
    most = None if replacement else len(values)
    if (counts < 1).any() or (most is not None and (counts > most).any()):
        raise ValueError(f"n: allowed is 1 {'or more' if most is None else f'to {most}'}")
    return counts


def best_is(total: int, n: int, replacement: bool) -> Values:
    """The probability that the best of n of `total` values is the first, second, … best.

    Without replacement it is C(N − i, n − 1) / C(N, n): the first is n/N, and each next one the last times
    (N − i − n + 1) / (N − i), so that nothing overflows. With replacement, (1 − (i − 1)/N)ⁿ − (1 − i/N)ⁿ.
    """
    i = np.arange(1, total)
    if replacement:
        with np.errstate(divide="ignore"):
            missed = np.exp(n * np.log1p(-np.arange(0, total + 1) / total))
        return -np.diff(missed)
    ratios = np.maximum(total - i - n + 1, 0) / (total - i)
    return np.concatenate([[1.0], np.cumprod(ratios)]) * (n / total)


def _mean(ordered: Values, weights: Values) -> float:
    possible = weights > 0  # an infinite value that cannot be the best does not count
    return float(np.dot(ordered[possible], weights[possible]))
