"""The value of the winner: empirical Bayes on all values, since the best of many is partly the luckiest of them.

The distribution of the true values is the likeliest one of any form (Kiefer and Wolfowitz 1956; Jiang and Zhang 2009),
so that a long tail of bad settings pulls nothing. Given it and the noise, the true value of each is known with its
error, and no correction for having chosen among them is due.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

Values = NDArray[np.float64]

POINTS = 60
STEPS = 1000
MOST = 1000
"""Of the EM algorithm: it is slow at the end, where nothing changes that can be told."""
FEWEST = 8
"""Values, of which it can be told whether they differ by more than their noise."""
LEAST_ERROR = 0.9
"""Of the winner's noise: but for a plateau its shrunken value was off by as much in simulations, since a distribution
from some dozens of settings is sharper than it should be."""
BELOW, BEYOND = 1.5, 12.0
"""How far the true values may lie below the best and above it, in standard deviations: beyond, nothing is won."""


WILD = 8.0
"""Times the typical variance of a setting's repeats, from which on it counts no more: the repeats of a few settings may
be a hundred times as wild, and what is pooled with them in full would draw a quieter winner to the others (by .6 seed
standard deviations on average over the FCNet tables, of 16 settings with 3 seeds)."""
FEWEST_REPEATED = 4
"""Settings of which it can be told what is typical."""


def typical_noise(repeats: Sequence[Values]) -> float:
    """The standard deviation of one repeat at settings like the better half; `repeats` has those of each, best first.

    NaN where too few settings are repeated, or more than half of those do not vary.
    """
    repeated = [each for each in repeats if len(each) > 1]
    better = repeated[: max(FEWEST_REPEATED, -(-len(repeated) // 2))]
    if len(better) < FEWEST_REPEATED:
        return float("nan")
    variances, degrees = np.array([each.var(ddof=1) for each in better]), np.array([len(each) - 1 for each in better])
    typical = float(np.median(variances * degrees / chdtri(degrees, 0.5)))  # as normal noise has its median
    if not typical > 0:
        return float("nan")
    return float(np.sqrt(np.average(np.minimum(variances, WILD * typical), weights=degrees)))


def shrunken(values: Values, noise: Values) -> tuple[float, float]:
    """The expected true value of the lowest of `values` (settings,) and its standard error.

    `noise` (settings,) holds their standard deviations, all above 0. The error is that of the winner given the
    distribution, and that of the distribution where the winner is: settings like it are what tells it.
    """
    lowest, unit = float(values.min()), float(noise.min())
    far = (values - lowest) / unit
    near = np.argsort(far, kind="stable")[:MOST]
    near = near[far[near] <= BEYOND]  # what is farther says nothing of where the winner is
    values, noise, far = values[near], noise[near], far[near]
    if len(values) >= FEWEST and float((far * unit / noise).var()) <= 1 + np.sqrt(2 / (len(values) - 1)):
        level = 1 / noise**2 / np.sum(1 / noise**2)  # nothing says that they differ at all
        return float(level @ values), float(np.sum(1 / noise**2) ** -0.5)
    points = np.linspace(-BELOW, float(far.max()) + 1e-9, POINTS)
    scale = noise / unit
    apart = (far[:, None] - points) / scale[:, None]
    likelihood = np.exp(-0.5 * apart**2) / scale[:, None] + 1e-300
    weights = np.full(POINTS, 1 / POINTS)
    for _ in range(STEPS):
        share = likelihood * weights
        weights = (share / share.sum(axis=1, keepdims=True)).mean(axis=0)
    share = likelihood * weights
    share /= share.sum(axis=1, keepdims=True)
    winner = share[int(np.argmin(values))]
    mean = float(winner @ points)
    alike = np.sqrt(share * winner).sum(axis=1)  # how much each setting had to say about where the winner is
    variance = float(winner @ (points - mean) ** 2) + 1 / float((alike / scale**2).sum())
    variance = max(variance, float(LEAST_ERROR * scale[int(np.argmin(values))]) ** 2)
    return lowest + unit * mean, unit * float(np.sqrt(variance))
