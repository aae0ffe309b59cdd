"""The best of n trials against n (B6, E4).

The playbook simulates studies of n trials by drawing n of the N trials at hand, and shows the best of them as box
plots. No draw is needed: the distribution of the best of n follows from the order of the values alone.

- *Without* replacement (Tang et al. 2020) the expected best of n is unbiased: the estimate of what a study of n trials
  would have found.
- *With* replacement (Dodge et al. 2019) is the bootstrap: it keeps a spread up to n = N, which the box plots show.
- *Bands* say what another N trials could have shown instead, at all n at once (Lourie et al. 2023).

All take infeasible trials as the worst value: they cost a trial. Whether it was enough is `few_trials.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.regret import Values, comparable, losses, robust
from playbook.analysis.repeats import averaged
from playbook.analysis.tables import Tables

Mode = Literal["min", "max"]


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


def bands(values: Sequence[float], n: Sequence[int], mode: Mode) -> pl.DataFrame:
    """Bands for the best of n that hold at all n at once: `n`, `low`, `median`, `high`.

    In 80 % of studies or more the median best of n, over all trials that there could be, lies between `low` and `high`
    (the lower number first) for every n; where the trials at hand say nothing the end is null, as beyond a few n the
    better one soon is (Lourie et al., arXiv 2311.09480). Wider than need be for quasi-random trials.

    The band is one of the distribution function: of N draws, the i-th best lies between quantiles of a
    beta(i, N + 1 − i), so chosen that all hold at once (Aldor-Noiman et al. 2013).
    """
    from scipy.special import betaincinv

    ordered, counts = _ordered(values, mode), _counts(values, n, replacement=True)
    total = len(ordered)
    i, local = np.arange(1, total + 1), local_level(total)
    # Surely at least so large a share of all trials is as good as the i-th best of these, and at most so large a one.
    at_least, at_most = betaincinv(i, total + 1 - i, local), betaincinv(i, total + 1 - i, 1 - local)
    wanted = -np.expm1(np.log(0.5) / counts)  # the share of trials that are as good as the median best of n
    high, low = np.searchsorted(at_least, wanted), np.searchsorted(at_most, wanted) - 1
    sign = 1 if mode == "min" else -1

    def at(places: NDArray[np.int64]) -> list[float | None]:
        return [
            float(ordered[place]) * sign if 0 <= place < total and np.isfinite(ordered[place]) else None
            for place in places
        ]

    ends = (at(low), at(high)) if mode == "min" else (at(high), at(low))
    middle = quantile(ordered.tolist(), n, 0.5, "min", replacement=True) * sign
    return pl.DataFrame({"n": list(n), "low": ends[0], "median": middle, "high": ends[1]}, strict=False)


LOCAL_LEVELS = {
    **{1: 0.1, 2: 0.0568, 4: 0.0324, 8: 0.0209, 16: 0.0133, 32: 0.0097, 64: 0.0069, 128: 0.0054, 256: 0.0044},
    **{512: 0.0034, 1024: 0.0029, 4096: 0.0026, 10_000: 0.0021},
}
"""By the number of draws: the probability beyond either end of the interval of each order statistic, with which all
hold at once in 80 %. Of 300 to 20,000 simulations each: the 20 % quantile of the least of these probabilities."""


def local_level(total: int) -> float:
    """That of any number of draws, between those known."""
    known = np.array(list(LOCAL_LEVELS))
    return float(np.exp(np.interp(np.log(total), np.log(known), np.log(list(LOCAL_LEVELS.values())))))


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
