"""A smooth surface through the objectives of an arm's settings, and the noise that it leaves.

A Gaussian process with a constant mean, a Matérn 5/2 kernel with a length for each hyperparameter, and a nugget: what
no smooth function explains. The lengths are the likeliest of a grid (restricted likelihood, so that the mean costs its
degree of freedom), and the answer is averaged over the ratio of nugget to surface, which few trials leave open.
A surface that is rougher than the trials can show counts as noise: the nugget errs upwards (Rasmussen and Williams
2006, 2.7 and 5.4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LENGTHS = (0.6, 1.2, 2.4, np.inf)
"""Of the kernel, in ranges of a hyperparameter; infinite where it does not matter. Shorter ones explain the noise."""
RATIOS: Values = np.geomspace(1e-4, 1e2, 25)
"""Of the nugget's variance to the surface's."""
MOST = 120
"""Settings of a fit, the better ones: its cost grows with the cube."""
FEWEST = 8
"""Settings of a fit: through fewer many surfaces go."""
TINIEST, HUGE = 1e-150, 1e150
"""Spreads of values whose squares are numbers."""
SWEEPS = 2
"""Over the hyperparameters, for their lengths."""


@dataclass(frozen=True)
class Surface:
    """What is known of the true values at the settings.

    `mean` (settings,) and `covariance` (settings, settings) are of the values without noise; `noise` is the nugget, as
    a standard deviation, and `low` to `high` holds it with 80 %.
    """

    mean: Values
    covariance: Values
    noise: float
    low: float
    high: float


def surface(places: Values, values: Values, counts: Values, noise: float | None = None) -> Surface | None:
    """The surface through `values` (settings,) at `places` (settings, hyperparameters) in [0, 1].

    `counts` (settings,) says of how many repeats each value is the mean. `noise` is the standard deviation of one
    repeat, where it is known. None where there are too few settings, all are equal, or they are monstrous.
    """
    count = len(values)
    spread = float(np.ptp(values)) if count else 0.0
    if count < FEWEST or not TINIEST < spread < HUGE:
        return None
    scaled, known = (values - values.min()) / spread, None if noise is None else noise / spread
    lengths = np.full(places.shape[1], 1.2)
    best = _likelihood(_kernel(places, lengths), scaled, counts, known)
    for _ in range(SWEEPS):
        changed = False
        for key in range(places.shape[1]):
            for length in LENGTHS:
                tried = lengths.copy()
                tried[key] = length
                if length == lengths[key]:
                    continue
                found = _likelihood(_kernel(places, tried), scaled, counts, known)
                if found.total > best.total + 1e-9:
                    best, lengths, changed = found, tried, True
        if not changed:
            break
    mean, covariance = best.posterior(_kernel(places, lengths), scaled, counts)
    low, middle, high = best.noise_quantiles()
    return Surface(mean * spread + values.min(), covariance * spread**2, middle * spread, low * spread, high * spread)


def _kernel(places: Values, lengths: Values) -> Values:
    with np.errstate(divide="ignore"):
        scaled = places / lengths
    squares = ((scaled[:, None, :] - scaled[None, :, :]) ** 2).sum(axis=2)
    far = np.sqrt(5 * squares)
    return (1 + far + 5 * squares / 3) * np.exp(-far)


@dataclass(frozen=True)
class _Likelihood:
    """Over the ratios: `weights` (ratios,), the variance of the surface `scale` (ratios,); `total` the logarithm."""

    total: float
    weights: Values
    scale: Values

    def noise_quantiles(self) -> tuple[float, float, float]:
        noise = np.sqrt(RATIOS * self.scale)
        order = np.argsort(noise)
        reached = np.cumsum(self.weights[order])
        places = np.minimum(np.searchsorted(reached, (0.1, 0.5, 0.9)), len(noise) - 1)
        low, middle, high = (float(each) for each in noise[order][places])
        return low, middle, high

    def posterior(self, kernel: Values, values: Values, counts: Values) -> tuple[Values, Values]:
        """Mean and covariance at the settings, averaged over the ratios."""
        means, covariances = [], []
        kept = np.flatnonzero(self.weights > 1e-3)
        weights = self.weights[kept] / self.weights[kept].sum()
        for place in kept:
            ratio, scale = RATIOS[place], self.scale[place]
            inverse = np.linalg.inv(kernel + ratio * np.diag(1 / counts))
            of_one = inverse.sum(axis=1)
            level = of_one @ values / of_one.sum()
            rest = 1 - kernel @ of_one
            means.append(level + kernel @ inverse @ (values - level))
            covariances.append(scale * (kernel - kernel @ inverse @ kernel + np.outer(rest, rest) / of_one.sum()))
        mean = np.einsum("k,kn->n", weights, np.array(means))
        apart = np.array(means) - mean
        covariance = np.einsum("k,knm->nm", weights, np.array(covariances)) + np.einsum(
            "k,kn,km->nm", weights, apart, apart
        )
        return mean, covariance


def _likelihood(kernel: Values, values: Values, counts: Values, noise: float | None) -> _Likelihood:
    """The restricted likelihood of the values, for each of `RATIOS`; the scale is the likeliest or follows."""
    root = np.sqrt(counts)
    spectrum, vectors = np.linalg.eigh(kernel * np.outer(root, root))
    of_values, of_one = vectors.T @ (root * values), vectors.T @ root
    variances = np.maximum(spectrum, 0)[None, :] + RATIOS[:, None]
    weight = (of_one**2 / variances).sum(axis=1)
    level = (of_values * of_one / variances).sum(axis=1) / weight
    rest = ((of_values[None, :] - level[:, None] * of_one) ** 2 / variances).sum(axis=1)
    size, degrees = np.log(variances).sum(axis=1) + np.log(weight), len(values) - 1
    if noise is None:
        scale = rest / degrees
        logarithm = -0.5 * (size + degrees * np.log(np.maximum(rest, 1e-300)))
    else:
        scale = noise**2 / RATIOS
        logarithm = -0.5 * (size + degrees * np.log(scale) + rest / scale)
    highest = float(logarithm.max())
    weights = np.exp(logarithm - highest)
    return _Likelihood(highest + float(np.log(weights.sum())), weights / weights.sum(), scale)
