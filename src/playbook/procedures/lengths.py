"""Quality against training length: which lengths are surely worse than the longest, and what longer would bring.

The lengths share a validation set and most of their training, so they are compared in pairs. The noise of a difference
has two parts: the examples, on which two models differ or do not (paired), and training, which shows in how far the
lengths scatter about a smooth curve. What another seed would do to all of them alike is in neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["enough", "longer", "cannot tell"]


@dataclass(frozen=True)
class Thresholds:
    """What the reading depends on."""

    alpha: float = 0.05
    """Of the intervals, and of a claim that a length is worse. Lengths are tested from the shortest on until one is not
    worse: in an order that is fixed beforehand each test has the whole level (Maurer, Hothorn and Lehmacher 1995)."""
    fewest_fit: int = 5
    """Lengths for a law of three parameters, and two degrees of freedom for the scatter about it."""
    least_range: float = 3.0
    """The longest over the shortest: within less, every law is a line."""
    exponents: tuple[float, float] = (0.05, 3.0)
    """Of the law. Those of published learning curves are 0.05 to 1.5 (Hestness et al. 2017, arXiv 1712.00409)."""


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Length:
    """A run of `steps` with its loss: its objective, lower is better; None where it did not train.

    `examples` (n,) is what each validation example has to say of the loss, of which it is the mean; None: unknown.
    """

    steps: int
    loss: float | None
    examples: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Difference:
    """By how much a length is worse than the longest, with the ends of the interval; None: nobody knows the noise."""

    steps: int
    worse: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Outlook:
    """What twice the longest would gain if the law e + a·steps^-b goes on, with its interval, and the law's points."""

    gain: float
    low: float
    high: float
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reading:
    """`enough` is the shortest length of which all from it on are worth no more; None where that is not known."""

    verdict: Verdict
    enough: int | None
    differences: tuple[Difference, ...]
    scatter: float | None
    outlook: Outlook | None
    why_no_outlook: str


def read_lengths(lengths: Sequence[Length], margin: float = 0.0) -> Reading:
    """What the lengths say, in the order of their steps; a loss is worth `margin` or more to count.

    `enough`: shorter ones are surely worse, or all from there on are worse by surely less than the margin. `longer`:
    even the last but one is worse than the longest.
    """
    known = sorted((each for each in lengths if each.loss is not None), key=lambda each: each.steps)
    scatter = _scatter(known)
    differences = tuple(_difference(each, known[-1], scatter, len(known)) for each in known[:-1])
    num_worse = 0
    while num_worse < len(differences) and (differences[num_worse].low or 0.0) > margin:
        num_worse += 1
    first_level = len(differences)
    while first_level > 0 and _is_below(differences[first_level - 1].high, margin):
        first_level -= 1
    outlook, why = _outlook(known, any_worse=num_worse > 0)
    verdict: Verdict = "cannot tell"
    enough = None
    if differences and num_worse == len(differences):
        verdict = "longer"
    elif first_level < len(differences):
        verdict, enough = "enough", known[first_level].steps
    elif num_worse:
        verdict, enough = "enough", known[num_worse].steps
    return Reading(verdict, enough, differences, scatter, outlook, why)


def _is_below(high: float | None, margin: float) -> bool:
    return margin > 0 and high is not None and high < margin


@dataclass(frozen=True)
class _Fit:
    """The least squares of level + scale·ratio^-exponent for one exponent; `ratio` is of the longest.

    `off` is the sum of squares that is left, and `unscaled` the variance of the scale for a noise of 1.
    """

    exponent: float
    level: float
    scale: float
    off: float
    unscaled: float


def _fits(known: Sequence[Length]) -> list[_Fit]:
    """For each exponent that a law may have; none where the lengths are too few."""
    if len(known) < THRESHOLDS.fewest_fit:
        return []
    steps = np.array([each.steps for each in known], dtype=float)
    loss, ratio = np.array([each.loss for each in known], dtype=float), steps / steps[-1]
    exponents = np.geomspace(*THRESHOLDS.exponents, 80)
    powers = ratio ** -exponents[:, None]  # (exponents, lengths)
    apart = powers - powers.mean(axis=1, keepdims=True)
    spread = (apart**2).sum(axis=1)
    scales = apart @ loss / spread
    levels = loss.mean() - scales * powers.mean(axis=1)
    offs = ((loss - levels[:, None] - scales[:, None] * powers) ** 2).sum(axis=1)
    rows = np.stack([exponents, levels, scales, offs, 1 / spread], axis=1).tolist()
    return [_Fit(*row) for row in rows]


def _scatter(known: Sequence[Length]) -> float | None:
    """The standard deviation of a loss about the law that fits best: a curve with no law is taken for noise."""
    fits = _fits(known)
    return math.sqrt(min(each.off for each in fits) / (len(known) - 3)) if fits else None


def _difference(one: Length, longest: Length, scatter: float | None, num: int) -> Difference:
    from scipy.stats import t

    assert one.loss is not None
    assert longest.loss is not None
    worse = one.loss - longest.loss
    centre, of_examples = _paired(one.examples, longest.examples)
    centre = worse if centre is None else centre
    of_scatter = None if scatter is None else 2 * scatter**2
    variance = max((each for each in (of_examples, of_scatter) if each is not None), default=None)
    if variance is None:
        return Difference(one.steps, worse, None, None)
    freedom = math.inf
    if of_scatter:  # by how much of the variance it decides (Satterthwaite 1946)
        freedom = (num - 3) * (variance / of_scatter) ** 2
    half = float(t.ppf(1 - THRESHOLDS.alpha / 2, freedom)) * math.sqrt(variance)
    return Difference(one.steps, worse, centre - half, centre + half)


def _paired(one: NDArray[np.float64] | None, other: NDArray[np.float64] | None) -> tuple[float | None, float | None]:
    """The centre of the interval of the mean difference and its variance, over examples.

    Of right and wrong with half an example added to each way to differ (Agresti and Min 2005): two models that differ
    on no example of few are not known to be equal.
    """
    if one is None or other is None or one.shape != other.shape or len(one) < 2:
        return None, None
    apart = one - other
    if not np.isfinite(apart).all():
        return None, None
    if np.isin(one, (0, 1)).all() and np.isin(other, (0, 1)).all():
        worse, better, count = (apart > 0).sum() + 0.5, (apart < 0).sum() + 0.5, len(apart) + 2
        mean = float((worse - better) / count)
        return mean, float(((worse + better) / count - mean**2) / count)
    return float(apart.mean()), float(apart.var(ddof=1) / len(apart))


def _outlook(known: Sequence[Length], *, any_worse: bool) -> tuple[Outlook | None, str]:
    """The law through the lengths, if they say one; else why not.

    For each exponent the rest is linear. All exponents count that fit almost as well as the best (profile likelihood),
    each with the error of its line.
    """
    fits = _fits(known)
    if not fits:
        return None, f"a law needs {THRESHOLDS.fewest_fit} lengths"
    first, longest = known[0].steps, known[-1].steps
    if longest / first < THRESHOLDS.least_range:
        return None, f"the longest is less than {THRESHOLDS.least_range:g} times the shortest"
    if not any_worse:
        return None, "no length is surely worse than the longest, so there is no trend to go on with"
    from scipy.stats import f, t

    best, freedom = min(fits, key=lambda each: each.off), len(known) - 3
    variance = max(best.off / freedom, 1e-30)
    limit = best.off + variance * float(f.ppf(1 - THRESHOLDS.alpha, 1, freedom))
    ends = []
    for each in (each for each in fits if each.off <= limit):
        half = float(t.ppf(1 - THRESHOLDS.alpha / 2, freedom)) * math.sqrt(variance * each.unscaled)
        ends += [(1 - 2**-each.exponent) * (each.scale + side) for side in (-half, half)]
    gain = best.scale * (1 - 2**-best.exponent)
    if min(ends) <= 0:
        return None, f"a law through them gains {gain:.2g} or nothing by twice the longest"
    drawn = np.geomspace(first, 2 * longest, 60)
    points = tuple((float(x), best.level + best.scale * float(x / longest) ** -best.exponent) for x in drawn)
    return Outlook(gain, min(ends), max(ends), points), ""
