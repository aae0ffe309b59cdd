"""A line through values of which some are far off (Huber 1981, 7.6–7.7): what a few unlucky seeds do not decide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

FAR = 1.5
"""Standard deviations of the residuals, up to which a value counts in full: with normal noise it is as good as least
squares but for a twentieth, and much better with heavy tails."""
FEWEST = 20
"""Values more than columns: fewer do not say which are far, and least squares is exact."""
STEPS = 20
"""Of reweighting, which is mostly done after eight."""


def robust_coefficient(design: Values, values: Values, place: int) -> tuple[float, float]:
    """The coefficient of column `place` of `design` (values, columns) of full rank, and its standard error.

    There are more values than columns. Where there are `FEWEST` more, residuals count up to `FAR` standard deviations
    (from their median absolute deviation), with Huber's correction for few values.
    """
    count, columns = design.shape
    beta = np.linalg.lstsq(design, values, rcond=None)[0]
    reach = np.inf
    for _ in range(STEPS if count - columns >= FEWEST else 0):
        rest = np.abs(values - design @ beta)
        deviation = 1.4826 * float(np.median(rest)) * np.sqrt(count / (count - columns))
        if not deviation > 1e-12 * float(np.abs(values).max()):
            break  # more than half lie on the line
        reach = FAR * deviation
        weighted = design * np.minimum(1.0, reach / np.maximum(rest, 1e-300))[:, None]
        before, beta = beta, np.linalg.lstsq(weighted.T @ design, weighted.T @ values, rcond=None)[0]
        if np.abs(design @ (beta - before)).max() < 1e-3 * deviation:
            break
    rest = values - design @ beta
    inside = float((np.abs(rest) < reach).mean())
    few = 1 + columns / count * (1 - inside) / inside
    variance = float((np.clip(rest, -reach, reach) ** 2).sum()) / (count - columns) / inside**2
    of_place = abs(float(np.linalg.inv(design.T @ design)[place, place]))  # rounding may leave it below 0
    return float(beta[place]), few * float(np.sqrt(variance * of_place))
