"""The interval of a metric that is a mean over the examples of a test set: of one model, for new examples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
DRAWS = 2000
"""Of a bootstrap: an end of the interval is off by a twentieth of the standard error."""


def wilson(misses: int, n_examples: int) -> tuple[float, float]:
    """Of a share: Wilson's interval, which is right for 0 of n as well (Brown, Cai and DasGupta 2001)."""
    from scipy.stats import norm  # half a second of imports

    z = float(norm.ppf((1 + CONFIDENCE) / 2))
    share = misses / n_examples
    middle = (share + z**2 / (2 * n_examples)) / (1 + z**2 / n_examples)
    half = z / (1 + z**2 / n_examples) * math.sqrt(share * (1 - share) / n_examples + (z / (2 * n_examples)) ** 2)
    return 0.0 if not misses else middle - half, 1.0 if misses == n_examples else middle + half


def bootstrap(
    value: float, values: NDArray[np.floating], weights: NDArray[np.floating], slope: float
) -> tuple[float, float]:
    """Of a metric `value` that changes by `slope` times the weighted mean of `values` (n,): its percentiles over
    examples drawn again.
    """
    random = np.random.default_rng(0)
    values, weights = values.astype(float), weights.astype(float)
    mean = float(np.average(values, weights=weights))
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        chosen = random.integers(len(values), size=len(values))
        total = weights[chosen].sum()
        means[draw] = (weights[chosen] * values[chosen]).sum() / total if total > 0 else mean
    low, high = np.quantile(value + slope * (means - mean), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def optimism(num_models: int, se: float) -> float:
    """By how much the best of so many equally good models seems better than it is: the mean of the largest of normal
    errors of this standard error (Blom 1958).
    """
    from scipy.stats import norm  # half a second of imports

    return 0.0 if num_models < 2 else se * float(norm.ppf((num_models - 0.375) / (num_models + 0.25)))
