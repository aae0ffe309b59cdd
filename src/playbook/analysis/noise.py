"""How much a curve jumps from one evaluation to the next, seen from the curve alone."""

from __future__ import annotations

import numpy as np

from playbook.analysis.curves import Flags, Values, lower_rms, quantum

FEWEST_BENDS = 3
"""Second differences below which there is no estimate."""


def noise(values: Values, where: Flags) -> Values:
    """(rows,): the standard deviation of one evaluation around its smooth course, within `where`; NaN if unknown.

    `values` (rows, columns). From second differences, which no straight course has, so that a steep curve is not a
    noisy one; a quarter of them may be outliers. It is not below a third of the metric's smallest change, since an
    error that is counted on few examples hides the noise that is smaller.
    """
    inside = np.where(where, values, np.nan)
    bends = np.diff(inside, n=2, axis=1)
    known = np.sum(~np.isnan(bends), axis=1) >= FEWEST_BENDS
    return np.where(known, np.maximum(lower_rms(np.abs(bends)) / np.sqrt(6), 0.3 * quantum(inside)), np.nan)
