"""How much one validation example is of a metric that counts them.

No verdict rests on a few: k of them that all say the same do so by chance once in 2ᵏ times (Dietterich 1998).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from playbook.analysis.curves.rectangle import Curves, quantum
from playbook.analysis.tables import Tables

DIVISORS = range(1, 7)
"""The smallest change that is seen may be of as many examples."""
ROUNDING = 0.02
"""Of an example, that the values may be off: some were computed in single precision, some were rounded."""
MOST = 1e6
"""Examples beyond which nothing is counted: any numbers are multiples of one that is small enough."""


def one_example(tables: Tables, curves: Curves) -> float:
    """What one example changes in the curves' metric; 0 where it counts none, a loss for example.

    All values of an error on n examples are multiples of 1/n, or of a hundredth of that for percents; n is known from
    the records, or seen from the smallest change.
    """
    values = curves.values[np.isfinite(curves.values)]
    change = quantum(curves.values)
    if not (change > 0).any():
        return 0.0
    smallest = float(change[change > 0].min())
    units = [smallest / divisor for divisor in DIVISORS]
    if "n_examples" in tables.trials.columns:
        known = tables.trials.filter(pl.col("n_examples") > 0)["n_examples"].median()
        units = ([100.0 / known, 1.0 / known] if isinstance(known, int | float) else []) + units
    for unit in units:
        counts = values / unit
        if np.abs(counts).max() < MOST and np.abs(counts - np.rint(counts)).max() < ROUNDING:
            return unit
    return 0.0
