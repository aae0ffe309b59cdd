"""What more trials would bring, from how the losses at hand thin out towards the best (G6).

Near an optimum a smooth objective is a parabola, so that among trials at random the share below a loss y grows as
(y − α)^(γ/2): α is the best that there is, γ the number of hyperparameters that matter there, and noise is added to
each (the noisy quadratic law; Lourie et al., arXiv 2510.02721). The better half of the losses says which α, γ and noise
are likely. All of them are kept, with their likelihood as weight: few losses leave many, and the forecast is then wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from playbook.analysis.regret import Values

GAMMAS = np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
"""How many hyperparameters matter near the best, to choose from."""
BELOW = np.array([-0.5, -0.25, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
"""How far α lies below the best loss seen, in units of the better half's width, to choose from: above it by luck."""
BETTER = 0.5
"""The share of the losses that is fitted: the law is one of the tail."""
MOST = 60
"""Of the best losses are fitted: 10,000 trials' better half is no tail."""
FEWEST = 5
"""Losses that are fitted at least."""
LEAST_NOISE = 0.05
"""In units of the better half's width: what the grids can still show."""
CELLS, PLACES = 300, 60
"""Of the grids of true losses, and of where the next best may come to lie."""


@dataclass(frozen=True)
class Forecast:
    """What the true loss of the best setting would fall by, in the unit of the losses: `gains` with their `weights`."""

    gains: Values
    weights: Values

    @property
    def mean(self) -> float:
        """What is expected."""
        return float(self.gains @ self.weights)

    def quantile(self, p: float) -> float:
        """The gain that is not exceeded with probability p."""
        order = np.argsort(self.gains)
        reached = np.cumsum(self.weights[order]) >= p - 1e-12
        return float(self.gains[order][int(np.argmax(reached))])

    def over(self, gain: float) -> float:
        """The probability of a larger gain."""
        return float(self.weights[self.gains > gain].sum())


def forecast(loss: Values, more: int, noises: Sequence[float]) -> Forecast | None:
    """What `more` trials would bring beside those at hand.

    `loss` (trials,) is lower for better, infinite for what failed; `noises` are what the standard deviation of one
    trial's loss may be, each as likely. None where there are fewer than two different losses in the better half.
    """
    finite = np.sort(loss[np.isfinite(loss)])
    count = min(max(int(len(finite) * BETTER), FEWEST), len(finite) - 1, MOST)
    if count < 2 or not finite[count] > finite[0]:
        return None
    end, width = finite[count], finite[count] - finite[0]
    tail = (finite[:count] - end) / width  # -1 for the best, 0 where the tail ends
    parts = [_of_noise(tail, count / len(loss), more, max(noise / width, LEAST_NOISE)) for noise in noises]
    likelihood = np.concatenate([each for _, each in parts])
    weights = np.exp(likelihood - likelihood.max())
    return Forecast(np.concatenate([each for each, _ in parts]) * width, weights / weights.sum())


def _of_noise(tail: Values, share: float, more: int, noise: float) -> tuple[Values, Values]:
    """The gain and the log likelihood for each α and γ, on the scale of the tail, of which `share` of trials are."""
    from scipy.special import ndtr

    alpha, gamma = (each.ravel() for each in np.meshgrid(-1 - BELOW, GAMMAS, indexing="ij"))
    lowest = -1 - BELOW.max()
    edges = np.linspace(lowest - 0.01, 4 * noise, CELLS + 1)
    true = (edges[1:] + edges[:-1]) / 2
    mass = np.diff(np.clip(edges[:, None] - alpha, 0, None) ** (gamma / 2), axis=0)  # (cells, laws)
    within = ndtr(-true / noise) @ mass  # of the law, what is seen below the end of the tail
    density = np.exp(-0.5 * ((tail[:, None] - true) / noise) ** 2) @ mass / (noise * within)
    likelihood = np.log(np.maximum(density, 1e-300)).sum(axis=0)

    seen = np.linspace(lowest - 4 * noise, -1, PLACES)
    near = np.exp(-0.5 * np.square(seen[:, None] - true) / noise**2)
    weight = near @ mass
    known = weight > 1e-200
    true_of_seen = np.where(known, (near @ (mass * true[:, None])) / np.where(known, weight, 1.0), np.nan)
    below = np.clip(ndtr((seen[:, None] - true) / noise) @ mass / within * share, 0, 1)
    rise = np.nan_to_num(np.maximum(np.diff(true_of_seen, axis=0), 0.0))
    middle = (below[1:] + below[:-1]) / 2
    return (rise * -np.expm1(more * np.log1p(-np.minimum(middle, 1 - 1e-12)))).sum(axis=0), likelihood
