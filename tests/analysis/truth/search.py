"""A Bayesian search of 16 trials after 16 quasi-random ones, against 32 quasi-random ones (B12).

Of each the regret is the truth of the trial that looks best, above the best there is; a third of each surface is
infeasible. The ratio of the medians over the studies is given, with a bootstrap's interval.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from searched_surfaces import SURFACES, searched

from truth.claim import Claim, Summary

STUDIES = 20


def drawn(surface: int, parallel: int, rng: np.random.Generator) -> tuple[float, float]:
    """The two regrets of one study."""
    return searched(SURFACES[surface], int(rng.integers(2**31)), 16, 32, parallel)


def ratio_of_medians(regrets: Sequence[Any]) -> Summary:
    """Of the search's to the other's, and its interval."""
    both = np.asarray(regrets, dtype=np.float64)
    rng = np.random.default_rng(0)
    again = both[rng.integers(len(both), size=(2000, len(both)))]
    medians = np.median(again, axis=1)
    low, high = np.quantile(medians[:, 0] / medians[:, 1], [0.025, 0.975])
    middle = np.median(both, axis=0)
    return float(middle[0] / middle[1]), float(low), float(high)


AT_ONCE = ((0, 1), (1, 1), (2, 1), (3, 1), (1, 4))
"""Surfaces, by their place, and how many trials are proposed at a time."""

CLAIMS = [
    Claim(
        "bayesian sweeper",
        f"{SURFACES[place].name}: median regret, of that of quasi-random points, {parallel} at a time",
        partial(drawn, place, parallel),
        at_most=1.0,
        studies=STUDIES,
        summary=ratio_of_medians,
    )
    for place, parallel in AT_ONCE
]
