"""The mean of a few values, some of which may be far off, with its standard error (Huber 1981, 6.4–6.6).

Trials that go wrong, or lie where training is far noisier, are not what two arms are compared by: Huber's estimate
counts a value in full up to `FAR` standard deviations, and beyond no more than there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FAR = 2.0
"""Standard deviations, from the median absolute deviation: of normal values one in twenty is farther."""
STEPS = 100
"""Of the iteration, which is mostly done after ten."""


@dataclass(frozen=True)
class RobustMean:
    """`mean` with its standard error `se`, which is as sure as of `degrees` of freedom."""

    mean: float
    se: float
    degrees: float


def robust_mean(values: Values) -> RobustMean:
    """Of `values` (at least two).

    Where more than half of them are equal, as differences of errors of few examples may be, none is far.
    """
    count, middle = len(values), float(np.median(values))
    deviation = 1.4826 * float(np.median(np.abs(values - middle)))
    if not deviation > 0:
        return RobustMean(float(values.mean()), float(values.std(ddof=1) / np.sqrt(count)), count - 1)
    reach, mean = FAR * deviation, middle
    for _ in range(STEPS):
        before, mean = mean, mean + float(np.clip(values - mean, -reach, reach).mean())
        if abs(mean - before) <= 1e-12 * reach:
            break
    rest = np.clip(values - mean, -reach, reach)
    near = int((np.abs(values - mean) < reach).sum())
    inside = near / count
    few = 1 + (1 - inside) / inside / count  # Huber's correction for few values
    se = few * float(np.sqrt((rest**2).sum() / (count * (count - 1)))) / inside
    return RobustMean(mean, se, max(near - 1, 1))
