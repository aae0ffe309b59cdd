"""Which of two configurations trains better, from repeats of both, looked at as often as one likes (B11).

A look is a t interval at a level of its own, so small that the chance that *any* look ever leaves the truth above (or
below) its interval is at most `alpha` / 2: repeated confidence intervals under an alpha-spending schedule (Lan and
DeMets 1983; Jennison and Turnbull 1989). `tests/analysis/truth/compare.py` measures it, with normal, skewed,
heavy-tailed and discrete noise. The differences of repeats of one configuration with itself are symmetric
however skewed their noise is, which is why a t test errs to the safe side there.

Lists of numbers in, a verdict out; nothing here knows of runs and studies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import rankdata

from playbook.errors import InputError

Verdict = Literal["adopt", "keep", "cannot tell"]
Repeats = Sequence[float | None]
"""Objectives of repeats; None, or what is not finite, where a repeat was infeasible."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict rests on, with reasons."""

    fewest: int = 3
    """Repeats of each before a verdict: two have a spread of one degree of freedom."""
    level: float = 0.1
    """Share of `alpha` that each tail of a look has after `most_at` repeats of each, where it has most: with it, all
    looks from the third to the 300th together leave the truth on one side in .0245 of 30,000 simulated comparisons
    (`alpha` / 2 = .025), and two configurations that differ by two standard deviations are told apart within 8 repeats
    of each in .84."""
    most_at: int = 8
    """The level is in proportion to n before, when three repeats may be anything, and to 1 / n after: what is worth
    adopting shows within some ten repeats, which are all that most can afford. Half of `alpha` is spent by then."""
    pairs_of_caution: float = 14.0
    """Weight, in pairs, of the belief that sharing a seed does not help. A few pairs cannot tell: their differences
    alone have half of the degrees of freedom (power .70 instead of .84). Where sharing does help, the interval is too
    wide at first and right in the end."""
    power: float = 0.8
    """Of the effect that could have been seen, and of the number of repeats that would tell."""
    futile: float = 0.02
    """Chance of a verdict by the last repeat, given those so far, below which the rest is not trained. To stop without
    a verdict never makes one wrong."""
    fewest_to_stop: int = 5
    """Repeats of each before that: the spread of fewer may be off by a half."""
    most: int = 1000
    """Repeats of each: more are not asked for, and what is promised was not measured beyond."""


THRESHOLDS = Thresholds()


ROUNDING = 1e-14
"""Of the largest objective: a mean of differences that is closer to 0 is 0."""


@dataclass(frozen=True)
class Estimate:
    """An effect with its standard error and degrees of freedom, from `num` repeats of each (or as good as so many)."""

    effect: float
    se: float
    df: float
    num: float

    @property
    def p_positive(self) -> float:
        """The probability that the true effect is positive, given a flat prior."""
        if self.se == 0:
            return 0.5 if self.effect == 0 else float(self.effect > 0)
        return _tail(self.df, self.effect / self.se)


@dataclass(frozen=True)
class Look:
    """What the repeats say so far. All effects are in units of the objective, positive where the candidate is better.

    `effect` has the interval `low` to `high`, which may be looked at after every repeat. Both are None before there are
    enough repeats, and where `by` is ranks because repeats were infeasible: those are worst, and `effect` is that of
    the others. `p_better` is the probability that the candidate's mean is better, given these repeats and a flat prior,
    and `p_one_better` the share of pairs of a run of each in which it is (Bouthillier et al. 2021). `above_margin` is
    what the verdict rests on: the effect less the margin, in ranks if `by` says so.
    """

    repeats: tuple[int, int]
    infeasible: tuple[int, int]
    verdict: Verdict
    by: Literal["objective", "ranks"]
    effect: float | None
    low: float | None
    high: float | None
    p_better: float | None
    p_one_better: float | None
    above_margin: Estimate | None
    alpha: float

    @property
    def detectable(self) -> float | None:
        """The smallest effect beyond the margin that so many repeats would have shown with `Thresholds.power`."""
        if self.above_margin is None or self.by == "ranks":
            return None
        estimate = self.above_margin
        reach = critical_value(estimate.num, estimate.df, self.alpha) + _quantile(estimate.df, THRESHOLDS.power)
        return reach * estimate.se

    @property
    def needed(self) -> int | None:
        """Repeats of each that would tell an effect of the size seen with `Thresholds.power`.

        None where more than `Thresholds.most` would be.
        """
        if self.above_margin is None or self.above_margin.effect == 0:
            return None
        estimate = self.above_margin
        for num in range(THRESHOLDS.fewest, THRESHOLDS.most + 1):
            df = estimate.df * (num - 1) / max(estimate.num - 1, 1.0)
            reach = critical_value(num, df, self.alpha) + _quantile(df, THRESHOLDS.power)
            if abs(estimate.effect) >= reach * estimate.se * math.sqrt(estimate.num / num):
                return num
        return None

    def chance_to_tell(self, most: int) -> float:
        """The chance that the interval leaves the margin after `most` repeats of each, given these and a flat prior."""
        estimate = self.above_margin
        if estimate is None or most <= estimate.num:
            return 0.0 if self.verdict == "cannot tell" else 1.0
        if estimate.se == 0:
            return float(estimate.effect != 0)
        df = estimate.df * (most - 1) / max(estimate.num - 1, 1.0)
        reach = critical_value(most, df, self.alpha) * estimate.se * math.sqrt(estimate.num / most)
        spread = estimate.se * math.sqrt(1 - estimate.num / most)  # of the effect after the rest, around that so far
        above, below = (estimate.effect - reach) / spread, (-reach - estimate.effect) / spread
        return _tail(estimate.df, above) + _tail(estimate.df, below)

    def is_futile(self, most: int) -> bool:
        """Whether repeats up to `most` of each would hardly tell what these cannot."""
        enough = min(self.repeats) >= THRESHOLDS.fewest_to_stop
        return self.verdict == "cannot tell" and enough and self.chance_to_tell(most) < THRESHOLDS.futile


def look(
    candidate: Repeats,
    incumbent: Repeats,
    *,
    mode: Literal["min", "max"] = "min",
    margin: float = 0.0,
    alpha: float = 0.05,
    paired: bool = True,
    noise_sd: float | None = None,
) -> Look:
    """What repeats of two configurations say: adopt where the whole interval of the effect is above `margin`, keep
    where it is below, else cannot tell.

    `paired`: repeat i of one shares its seed, or its split of the data, with repeat i of the other. `noise_sd` is the
    standard deviation of one repeat where it is known from elsewhere, and is then not estimated.

    Raises:
        InputError: pairs of unequal number, or values out of range.
    """
    _refuse(candidate, incumbent, margin, alpha, paired, noise_sd)
    sign = 1.0 if mode == "max" else -1.0
    ours, theirs = (sign * _numbers(each) for each in (candidate, incumbent))
    infeasible = (int(np.isnan(ours).sum()), int(np.isnan(theirs).sum()))
    by: Literal["objective", "ranks"] = "ranks" if any(infeasible) else "objective"
    num = (len(ours), len(theirs))
    effect = _effect_of_the_feasible(ours, theirs, paired)
    if effect is not None and abs(effect) < ROUNDING * max(map(_largest, (ours, theirs))):
        effect = 0.0
    if min(num) < THRESHOLDS.fewest:
        return Look(num, infeasible, "cannot tell", by, effect, None, None, None, None, None, alpha)
    if by == "ranks":
        over_margin = _estimate(*_ranks(ours - margin, theirs), paired, None)
        p_better = _estimate(*_ranks(ours, theirs), paired, None).p_positive
    else:
        over_margin = _estimate(ours - margin, theirs, paired, noise_sd)
        p_better = replace(over_margin, effect=over_margin.effect + margin).p_positive
    reach = critical_value(over_margin.num, over_margin.df, alpha) * over_margin.se
    return Look(
        repeats=num,
        infeasible=infeasible,
        verdict="adopt" if over_margin.effect > reach else "keep" if over_margin.effect < -reach else "cannot tell",
        by=by,
        effect=effect,
        low=None if by == "ranks" or effect is None else effect - reach,
        high=None if by == "ranks" or effect is None else effect + reach,
        p_better=p_better,
        p_one_better=_share_of_runs(ours, theirs),
        above_margin=over_margin,
        alpha=alpha,
    )


def looks(
    candidate: Repeats,
    incumbent: Repeats,
    *,
    mode: Literal["min", "max"] = "min",
    margin: float = 0.0,
    alpha: float = 0.05,
    paired: bool = True,
    noise_sd: float | None = None,
) -> list[Look]:
    """`look` after each repeat of both, from the first one on."""
    num = min(len(candidate), len(incumbent))
    return [
        look(candidate[:n], incumbent[:n], mode=mode, margin=margin, alpha=alpha, paired=paired, noise_sd=noise_sd)
        for n in range(1, num + 1)
    ]


def critical_value(num: float, df: float, alpha: float) -> float:
    """How many standard errors the interval reaches after `num` repeats of each."""
    level = THRESHOLDS.level * alpha * min(num / THRESHOLDS.most_at, THRESHOLDS.most_at / num)
    return -_quantile(df, level)


def _refuse(
    candidate: Repeats, incumbent: Repeats, margin: float, alpha: float, paired: bool, noise_sd: float | None
) -> None:
    if paired and len(candidate) != len(incumbent):
        raise InputError(
            f"{len(candidate)} repeats of the candidate and {len(incumbent)} of the incumbent are no pairs;"
            " say paired=false where they share no seeds"
        )
    if not 0 < alpha <= 0.5:
        raise InputError(f"alpha={alpha}: allowed is a number above 0, up to 0.5")
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin={margin}: allowed is 0 or more, in units of the objective")
    if noise_sd is not None and not (math.isfinite(noise_sd) and noise_sd > 0):
        raise InputError(f"noise_sd={noise_sd}: allowed is a number above 0, in units of the objective")


def _numbers(repeats: Repeats) -> Numbers:
    """NaN where a repeat was infeasible."""
    values = np.array([math.nan if each is None else each for each in repeats], dtype=np.float64)
    values[~np.isfinite(values)] = math.nan
    return values


def _estimate(ours: Numbers, theirs: Numbers, paired: bool, noise_sd: float | None) -> Estimate:
    if noise_sd is None and paired:
        effects, errors, freedom = paired_estimates(ours, theirs)
        return Estimate(float(effects), float(errors), freedom, len(ours))
    effect = float(ours.mean() - theirs.mean())
    sizes = len(ours), len(theirs)
    num = 2 / (1 / sizes[0] + 1 / sizes[1])
    if noise_sd is not None:
        return Estimate(effect, noise_sd * math.sqrt(2 / num), math.inf, num)
    rounding = float(_rounding(ours, theirs))
    parts = [(float(each.var(ddof=1)) + rounding) / len(each) for each in (ours, theirs)]
    variance = sum(parts)
    if variance == 0:
        return Estimate(effect, 0.0, float(sum(sizes) - 2), num)
    df = variance**2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))  # Welch
    return Estimate(effect, math.sqrt(variance), df, num)


def paired_estimates(ours: Numbers, theirs: Numbers) -> tuple[Numbers, Numbers, float]:
    """Effects, their standard errors, and their degrees of freedom, of pairs along the last axis.

    The variance of a difference is that of the differences, leaned towards what it would be were the two of a pair
    independent, with the weight of `Thresholds.pairs_of_caution`: so it has more degrees of freedom, and is right where
    pairs do not help and too large where they do.
    """
    num = ours.shape[-1]
    nu, prior = num - 1, THRESHOLDS.pairs_of_caution
    caution = prior / 2 / (nu + prior)  # half of the variances of differences and of sums is the independent one
    differences = ours - theirs
    spread = (1 - caution) * differences.var(axis=-1, ddof=1) + caution * (ours + theirs).var(axis=-1, ddof=1)
    df = nu / ((1 - caution) ** 2 + caution**2)  # Satterthwaite's, of independent differences and sums
    return differences.mean(axis=-1), np.sqrt((spread + 2 * _rounding(ours, theirs)) / num), df


def _rounding(ours: Numbers, theirs: Numbers) -> Numbers:
    """The variance that a value has because it is known up to a gap alone, such as one example (Sheppard).

    It keeps three equal differences from being a certainty.
    """
    gaps = np.diff(np.sort(np.concatenate([ours, theirs], axis=-1), axis=-1), axis=-1)
    finest = np.where(gaps > 0, gaps, math.inf).min(axis=-1)
    return np.where(np.isfinite(finest), finest, 0.0) ** 2 / 12


def _ranks(ours: Numbers, theirs: Numbers) -> tuple[Numbers, Numbers]:
    """Ranks among all repeats; infeasible ones share the lowest."""
    values = np.concatenate([ours, theirs])
    ranks = rankdata(np.where(np.isnan(values), -math.inf, values))
    return ranks[: len(ours)], ranks[len(ours) :]


def _effect_of_the_feasible(ours: Numbers, theirs: Numbers, paired: bool) -> float | None:
    if paired:
        differences = (ours - theirs)[~np.isnan(ours - theirs)]
        return float(differences.mean()) if len(differences) else None
    means = [each[~np.isnan(each)] for each in (ours, theirs)]
    return float(means[0].mean() - means[1].mean()) if all(map(len, means)) else None


def _largest(values: Numbers) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))


def _share_of_runs(ours: Numbers, theirs: Numbers) -> float:
    """Of all pairs of a run of each, those in which ours is better; a draw counts half, and an infeasible run loses."""
    one, other = (np.where(np.isnan(each), -math.inf, each) for each in (ours, theirs))
    wins, draws = one[:, None] > other[None, :], one[:, None] == other[None, :]
    return float(np.mean(wins + 0.5 * draws))


def _quantile(df: float, level: float) -> float:
    return float(stdtrit(min(df, 1e9), level))


def _tail(df: float, value: float) -> float:
    return float(stdtr(min(df, 1e9), value))
