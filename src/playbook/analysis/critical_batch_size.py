"""Where larger batches stop paying: the fit log S = log(a + b/B) of steps to a target S by batch size B (A6).

At least `a` steps are needed however large the batch is, and at least `b` examples however small. Several numbers are
called the critical batch size, and they differ by several times, so each is named here:

- b/a, the *balance*: steps are twice the fewest and examples twice the fewest (McCandlish et al. 2018, arXiv
  1812.06162, equation 2.11);
- b/(5a) + 1.2·B₀, *20 % over linear scaling from B₀*: the batch at which steps are 1.2 times what they would be if each
  doubling of B₀ halved them (Zhang et al. 2024, arXiv 2410.21676).

The gradient noise scale is an estimate from gradients, not from steps: see `playbook.training.gradient_noise`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Values = NDArray[np.float64]
Regime = Literal["perfect scaling", "diminishing", "flat"]
REGIMES: tuple[Regime, ...] = ("perfect scaling", "diminishing", "flat")


@dataclass(frozen=True)
class Thresholds:
    """What the verdicts depend on."""

    confidence: float = 0.95
    fewest_sizes: int = 4
    """Two parameters, and as many left for their uncertainty."""
    overhead: float = 0.2
    """Steps over perfect scaling, and over the fewest: within it a size scales perfectly, or is flat."""
    reach: float = 1e4
    """The balance is looked for so far beyond the sizes that were tried; an interval that gets there has no end."""


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Interval:
    """A number with its interval; an end that the sizes do not bound is 0 or infinite."""

    value: float
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether both ends are known."""
        return self.low > 0 and math.isfinite(self.high)


@dataclass(frozen=True)
class ScalingFit:
    """Steps S(B) = a + b/B, fitted by least squares on logs to the steps (n,) at batch sizes (n,).

    `a` are steps and `b` examples. `residual_sd` is the standard deviation of log S around the fit.
    """

    batch_sizes: Values
    steps: Values
    a: float
    b: float
    limits: Thresholds = THRESHOLDS

    @property
    def residual_sd(self) -> float:
        """With n − 2 degrees of freedom."""
        return math.sqrt(_loss(self.batch_sizes, np.log(self.steps), self._balance) / (len(self.steps) - 2))

    @property
    def _balance(self) -> float:
        return math.log(self.b) - math.log(self.a)

    @cached_property
    def balance(self) -> Interval:
        """b/a with its profile interval: all that residuals of this size do not rule out (an F test of one degree)."""
        low, high = (math.exp(end) for end in self._profile[[0, -1]])
        smallest, largest = self._reach
        unbounded = 1 + 1e-6
        low = 0.0 if low <= math.exp(smallest) * unbounded else low
        high = math.inf if high >= math.exp(largest) / unbounded else high
        return Interval(self.b / self.a, low, high)

    def over_linear_scaling(self, base: float) -> Interval:
        """b/(5a) + 1.2·base for an overhead of 20 %: see the module. Its interval is that of the balance."""
        of, balance = self.limits.overhead, self.balance
        return Interval(*(of * each + (1 + of) * base for each in (balance.value, balance.low, balance.high)))

    def predicted(self, batch_sizes: Sequence[float]) -> Values:
        """Steps at these sizes."""
        return self.a + self.b / np.asarray(batch_sizes, float)

    def band(self, batch_sizes: Sequence[float]) -> tuple[Values, Values]:
        """The lower and the upper end of the profile interval of S at each size."""
        sizes, logs = np.asarray(batch_sizes, float), np.log(self.steps)
        lows, highs = [], []
        for balance in self._profile:
            level = np.mean(logs - _shape(self.batch_sizes, balance))
            left = max(self._limit - _loss(self.batch_sizes, logs, balance), 0.0)
            centre, wide = level + _shape(sizes, balance), math.sqrt(left / len(logs))
            lows.append(centre - wide)
            highs.append(centre + wide)
        return np.exp(np.min(lows, axis=0)), np.exp(np.max(highs, axis=0))

    def regimes(self, batch_size: float) -> tuple[Regime, ...]:
        """That of a size: several where the interval of b/a holds several.

        Steps are 1 + B/(b/a) times those of perfect scaling, and 1 + (b/a)/B times the fewest.
        """
        ends = (self.balance.low, self.balance.value, self.balance.high)
        found = {_regime(batch_size, each, self.limits.overhead) for each in ends}
        first, last = (REGIMES.index(each) for each in (min(found, key=REGIMES.index), max(found, key=REGIMES.index)))
        return REGIMES[first : last + 1]

    @property
    def _reach(self) -> tuple[float, float]:
        return _reach(self.batch_sizes, self.limits)

    @cached_property
    def _limit(self) -> float:
        """The residual sum of squares up to which a balance is not ruled out."""
        degrees = len(self.steps) - 2
        least = _loss(self.batch_sizes, np.log(self.steps), self._balance)
        return float(least * (1 + stats.f.ppf(self.limits.confidence, 1, degrees) / degrees))

    @cached_property
    def _profile(self) -> Values:
        """log(b/a) that are not ruled out, in order."""
        logs = np.log(self.steps)

        def over(balance: float) -> float:
            return _loss(self.batch_sizes, logs, balance) - self._limit

        best, ends = self._balance, []
        for far in self._reach:
            ends.append(float(optimize.brentq(over, best, far)) if over(best) < 0 < over(far) else far)
        if _loss(self.batch_sizes, logs, self._balance) < 1e-20:  # steps that fit exactly
            return np.array([self._balance])
        return np.linspace(ends[0], ends[1], 201)


def fit_scaling(batch_sizes: Sequence[float], steps: Sequence[float], limits: Thresholds = THRESHOLDS) -> ScalingFit:
    """The least-squares fit of log S = log(a + b/B); as many sizes as `fewest_sizes` or more, two of them different.

    With log S = log b + log(1/B + 1/(b/a)) only the balance b/a is not linear: it is found by a search in one
    dimension, so that no start has to be guessed and there is one answer.
    """
    sizes, logs = np.asarray(batch_sizes, float), np.log(np.asarray(steps, float))
    assert len(sizes) == len(logs) >= limits.fewest_sizes, "two parameters need more sizes"
    assert len(np.unique(sizes)) > 1, "one size says nothing about others"
    nearest, farthest = _reach(sizes, limits)
    grid = np.linspace(nearest, farthest, 401)
    place = int(np.argmin([_loss(sizes, logs, each) for each in grid]))
    around = (grid[max(place - 1, 0)], grid[min(place + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(
        lambda balance: _loss(sizes, logs, balance), bounds=around, method="bounded", options={"xatol": 1e-10}
    )
    balance = float(found.x)
    b = math.exp(float(np.mean(logs - _shape(sizes, balance))))
    return ScalingFit(sizes, np.exp(logs), a=b / math.exp(balance), b=b, limits=limits)


def _shape(batch_sizes: Values, balance: float) -> Values:
    """log(S/b) for log(b/a)."""
    return np.logaddexp(-np.log(batch_sizes), -balance)


def _loss(batch_sizes: Values, logs: Values, balance: float) -> float:
    """The residual sum of squares with the best b."""
    left = logs - _shape(batch_sizes, balance)
    return float(np.sum((left - left.mean()) ** 2))


def _reach(batch_sizes: Values, limits: Thresholds) -> tuple[float, float]:
    far = math.log(limits.reach)
    return math.log(batch_sizes.min()) - far, math.log(batch_sizes.max()) + far


def _regime(batch_size: float, balance: float, overhead: float) -> Regime:
    if batch_size <= overhead * balance:
        return "perfect scaling"
    return "flat" if balance <= overhead * batch_size else "diminishing"


@dataclass(frozen=True)
class Reached:
    """The step at which a target is reached, between two evaluations: `after` one and not later than the other, `by`.

    `steps` lies between them, on the straight line of the metric.
    """

    steps: float
    after: int
    by: int


def first_reached(
    steps: Sequence[int], values: Sequence[float], target: float, mode: Literal["min", "max"]
) -> Reached | None:
    """When a curve reaches the target for the first time; None where it does not.

    The curve is the running median of three evaluations, so that one lucky evaluation is not it; at either end that is
    the worse of two. What is not finite has not reached anything.
    """
    sign = 1.0 if mode == "min" else -1.0
    given = np.nan_to_num(sign * np.asarray(values, float), nan=math.inf)
    if len(given) < 2:
        return None
    inner = np.median(np.stack([given[:-2], given[1:-1], given[2:]]), axis=0) if len(given) > 2 else np.array([])
    smooth = np.concatenate([[given[0]], inner, [max(given[-2], given[-1])]])
    hits = np.flatnonzero(smooth <= sign * target)
    if not len(hits):
        return None
    place = int(hits[0])
    if place == 0:  # before the first step: there is nothing to count
        return Reached(float(steps[0]), int(steps[0]), int(steps[0]))
    before, after = smooth[place - 1], smooth[place]
    share = (before - sign * target) / (before - after) if math.isfinite(before) else 1.0
    low, high = int(steps[place - 1]), int(steps[place])
    return Reached(low + share * (high - low), low, high)
