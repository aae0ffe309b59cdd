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
LEAST_WEIGHT = 0.02
"""Of a ratio that is worth its inverse."""
SWEEPS = 2
"""Over the hyperparameters, for their lengths."""


@dataclass(frozen=True)
class Surface:
    """A fit. `noise` is the nugget, as a standard deviation, and `low` to `high` holds it with 80 %."""

    noise: float
    low: float
    high: float
    _fit: _Fit

    def at(self, places: Values) -> tuple[Values, Values]:
        """Mean (places,) and covariance (places, places) of the values without noise, averaged over the ratios."""
        return self._fit.at(places)


def surface(places: Values, values: Values, counts: Values, noise: float | None = None) -> Surface | None:
    """The surface through `values` (settings,) at `places` (settings, hyperparameters) in [0, 1].

    `counts` (settings,) says of how many repeats each value is the mean. `noise` is the standard deviation of one
    repeat, where it is known. None where there are too few settings, all are equal, or they are monstrous.
    """
    count = len(values)
    with np.errstate(over="ignore"):
        spread = float(np.ptp(values)) if count else 0.0
    if count < FEWEST or not TINIEST < spread < HUGE:
        return None
    scaled, known = (values - values.min()) / spread, None if noise is None else noise / spread
    lengths = np.full(places.shape[1], 1.2)
    best = _likelihood(_kernel(places, places, lengths), scaled, counts, known)
    for _ in range(SWEEPS):
        changed = False
        for key in range(places.shape[1]):
            for length in LENGTHS:
                tried = lengths.copy()
                tried[key] = length
                if length == lengths[key]:
                    continue
                found = _likelihood(_kernel(places, places, tried), scaled, counts, known)
                if found.total > best.total + 1e-9:
                    best, lengths, changed = found, tried, True
        if not changed:
            break
    low, middle, high = (each * spread for each in best.noise_quantiles())
    return Surface(middle, low, high, _Fit(best, lengths, places, scaled, counts, float(values.min()), spread))


@dataclass(frozen=True)
class _Fit:
    likelihood: _Likelihood
    lengths: Values
    places: Values
    values: Values
    counts: Values
    lowest: float
    spread: float

    def at(self, places: Values) -> tuple[Values, Values]:
        among = _kernel(self.places, self.places, self.lengths)
        across, there = _kernel(places, self.places, self.lengths), _kernel(places, places, self.lengths)
        kept = np.flatnonzero(self.likelihood.weights > LEAST_WEIGHT)
        weights = self.likelihood.weights[kept] / self.likelihood.weights[kept].sum()
        means, covariance = [], np.zeros_like(there)
        for place, weight in zip(kept, weights, strict=True):
            scale = self.likelihood.scale[place]
            inverse = np.linalg.inv(among + RATIOS[place] * np.diag(1 / self.counts))
            of_one = inverse.sum(axis=1)
            level = of_one @ self.values / of_one.sum()
            rest = 1 - across @ of_one
            means.append(level + across @ (inverse @ (self.values - level)))
            covariance += weight * scale * (there - across @ inverse @ across.T + np.outer(rest, rest) / of_one.sum())
        mean = weights @ np.array(means)
        apart = np.array(means) - mean
        covariance += np.einsum("k,kn,km->nm", weights, apart, apart)
        return mean * self.spread + self.lowest, covariance * self.spread**2


def _kernel(places: Values, others: Values, lengths: Values) -> Values:
    squares = (((places / lengths)[:, None, :] - (others / lengths)[None, :, :]) ** 2).sum(axis=2)
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
