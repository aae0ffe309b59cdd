"""Which learning rate is best, where instability begins, and whether mending it will pay (E5).

Instability pays to be mended where it limits the learning rate: it is there just above the best one, up to twice of
it; or a run at five to ten times of it comes down steadily and blows up later. Far above the best learning rate every
network breaks in its first steps, which says nothing.

Judged runs in, with one learning rate of several seeds; nothing here knows of studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binom, chi2, t

from playbook.analysis.instability import Course

Verdict = Literal["stable", "unstable early", "unstable mid-run", "cannot tell"]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    near: float = 2.0
    """Times the best learning rate, up to which instability of any kind limits it (E5)."""
    far: float = 10.0
    """The same for a rise after a steady decline (E5)."""
    reach: float = 3.0
    """Times the middle of the learning rates that cannot be told from the best one, from which on instability that some
    seeds show leaves nothing open: settings as good lie far below it, as in the finding `lr_at_stability_edge`."""
    level: float = 0.15
    """The chance of so many unstable runs of a learning rate at which half of them are, below which it is told: three
    of three seeds, or five of six."""
    bandwidth: float = 0.75
    """Of the gap between two learning rates, in logarithms, over which their objectives are averaged: the best of a
    dozen noisy means is the luckiest."""
    confidence: float = 0.95
    """Of the learning rates that cannot be told from the best one."""
    same: float = 1e-6
    """Relative difference of two learning rates that are the same one, rounded."""


LIMITS = Thresholds()


@dataclass(frozen=True)
class Rate:
    """The runs of one learning rate, a seed each: their objectives (None where infeasible) and their courses."""

    lr: float
    objectives: tuple[float | None, ...]
    courses: tuple[Course, ...]

    @property
    def known(self) -> list[float]:
        """The objectives of the runs that have one."""
        return [value for value in self.objectives if value is not None]

    @property
    def mean(self) -> float | None:
        """Of the objectives; None where half of the runs, or more, have none."""
        return float(np.mean(self.known)) if 2 * len(self.known) > len(self.objectives) else None

    @property
    def num_unstable(self) -> int:
        """Runs whose loss rose."""
        return sum(course.unstable for course in self.courses)

    @property
    def mostly_unstable(self) -> bool:
        """Whether more than half of the runs are unstable."""
        return 2 * self.num_unstable > len(self.courses)

    def num(self, kind: str) -> int:
        """Runs that went this way."""
        return sum(course.kind == kind for course in self.courses)


@dataclass(frozen=True)
class BestRate:
    """The learning rate with the best objective, smoothed over its neighbours; those from `low` to `high` cannot be
    told from it. `edge` says at which end of the range it lies, if it does: what is beyond was not tried."""

    lr: float
    low: float
    high: float
    objective: float
    edge: Literal["lower", "upper"] | None


@dataclass(frozen=True)
class Begins:
    """Instability begins at `lr`: from there on most runs of every learning rate that was tried are unstable.

    No run at `stable_to` or below is unstable, and every run at `unstable_from` or above; None where there is no such
    learning rate among those tried.
    """

    lr: float
    stable_to: float | None
    unstable_from: float | None


def best_rate(rates: Sequence[Rate], mode: Literal["min", "max"]) -> BestRate | None:
    """The best of a sweep; None where no learning rate has objectives."""
    rates = sorted(rates, key=lambda rate: rate.lr)
    sign = 1.0 if mode == "min" else -1.0
    usable = [rate for rate in rates if rate.mean is not None]
    if not usable:
        return None
    logs = np.log([rate.lr for rate in usable])
    means = sign * np.array([float(np.mean(rate.known)) for rate in usable])
    sizes = np.array([len(rate.known) for rate in usable], dtype=np.float64)
    gap = float(np.median(np.diff(np.log([rate.lr for rate in rates])))) if len(rates) > 1 else 1.0
    weights = np.exp(-0.5 * ((logs[:, None] - logs[None, :]) / (LIMITS.bandwidth * gap)) ** 2) * sizes
    # The middle one of their spreads: where some seeds blow up, the spread is another.
    spreads = [
        np.var(rate.known, ddof=1) / (chi2.median(len(rate.known) - 1) / (len(rate.known) - 1))
        for rate in usable
        if len(rate.known) > 1
    ]
    sd = math.sqrt(float(np.median(spreads))) if spreads else math.inf
    freedom = float(sizes.sum() - len(usable))
    quantile = float(t.isf((1 - LIMITS.confidence) / 2, max(freedom, 1.0)))
    # What is worse beyond noise is as good as any other: a cliff beside the best does not push it away.
    beyond = means.min() + quantile * sd * math.sqrt(2 / sizes.max())
    smooth = (weights * np.minimum(means, beyond)).sum(axis=1) / weights.sum(axis=1)
    best = int(np.argmin(np.where(means <= beyond, smooth, np.inf)))
    same = means - means[best] <= quantile * sd * np.sqrt(1 / sizes + 1 / sizes[best])
    low = high = best
    while low > 0 and same[low - 1]:
        low -= 1
    while high + 1 < len(usable) and same[high + 1]:
        high += 1
    lr = usable[best].lr
    edge: Literal["lower", "upper"] | None = "lower" if lr == rates[0].lr else "upper" if lr == rates[-1].lr else None
    return BestRate(lr, usable[low].lr, usable[high].lr, float(sign * means[best]), edge)


def begins(rates: Sequence[Rate]) -> Begins | None:
    """Where instability begins; None where the highest learning rate is stable."""
    rates = sorted(rates, key=lambda rate: rate.lr)
    place = len(rates)
    while place and rates[place - 1].mostly_unstable:
        place -= 1
    if place == len(rates):
        return None
    clean = next((index for index, rate in enumerate(rates) if rate.num_unstable), len(rates))
    all_of = len(rates)
    while all_of and rates[all_of - 1].num_unstable == len(rates[all_of - 1].courses):
        all_of -= 1
    return Begins(
        lr=rates[place].lr,
        stable_to=rates[clean - 1].lr if clean else None,
        unstable_from=rates[all_of].lr if all_of < len(rates) else None,
    )


def told(count: int, total: int) -> Literal["most", "few", "open"]:
    """Whether most runs of a learning rate are so, few are, or so many of `total` seeds do not tell."""
    if binom.sf(count - 1, total, 0.5) <= LIMITS.level:
        return "most"
    return "few" if binom.cdf(count, total, 0.5) <= LIMITS.level else "open"


def verdict(rates: Sequence[Rate], best: BestRate) -> tuple[Verdict, Rate | None]:
    """Whether instability limits the best learning rate, and the smallest one that shows it (or leaves it open)."""
    reached = best.lr * (1 - LIMITS.same), best.lr * LIMITS.far * (1 + LIMITS.same)
    above = sorted((rate for rate in rates if reached[0] <= rate.lr <= reached[1]), key=lambda rate: rate.lr)
    near = [rate for rate in above if rate.lr <= best.lr * LIMITS.near * (1 + LIMITS.same)]
    for rate in near:
        if told(rate.num_unstable, len(rate.courses)) == "most":
            kind: Verdict = "unstable early" if rate.num("early") >= rate.num("mid-run") else "unstable mid-run"
            return kind, rate
    late = [rate for rate in above if rate.num("mid-run") > rate.num("early")]
    for rate in late:
        if told(rate.num("mid-run"), len(rate.courses)) == "most":
            return "unstable mid-run", rate
    middle = math.sqrt(best.low * best.high)
    for rate in (*near, *late):
        as_good_below = rate.lr >= LIMITS.reach * middle and rate not in late
        if told(rate.num_unstable, len(rate.courses)) == "open" and not as_good_below:
            return "cannot tell", rate
    return "stable", None
