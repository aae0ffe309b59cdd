"""How far apart the best of several must be: comparisons with the best, and of all pairs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

SURE = 0.95


@lru_cache(maxsize=512)
def best_of_several(count: int, degrees: float, sure: float = SURE) -> float:
    """How many standard errors of a difference the best of `count` may lie before one that is as good.

    With it the set of all that are nearer holds the truly best one with the probability `sure` (multiple comparisons
    with the best, Hsu 1981): Dunnett's one-sided bound, for `count` − 1 differences from one, equally correlated.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import chi

    if count < 2:
        return 0.0
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    weights = weights / weights.sum()
    quantiles = (np.arange(64) + 0.5) / 64
    scales = chi.ppf(quantiles, degrees) / np.sqrt(degrees) if np.isfinite(degrees) else np.ones(1)

    def short_of(bound: float) -> float:
        below = ndtr(nodes[None, :] + np.sqrt(2) * bound * scales[:, None]) ** (count - 1)
        return float((below @ weights).mean()) - sure

    return float(brentq(short_of, 0.0, 1e4, xtol=1e-4))


TABLED = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 60, 120, 10_000)
"""Degrees of freedom, to which they are cut: each of Tukey's bounds takes a third of a second."""


def all_pairs(count: int, degrees: float) -> float:
    """How many standard errors apart two of `count` must be, that none of equal ones are called apart (Tukey 1953)."""
    from scipy.stats import t

    if count == 2:
        return float(t.ppf((1 + SURE) / 2, degrees))
    return _tukey(count, max((each for each in TABLED if each <= degrees), default=1))


@lru_cache(maxsize=512)
def _tukey(count: int, degrees: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(SURE, count, degrees) / np.sqrt(2))
