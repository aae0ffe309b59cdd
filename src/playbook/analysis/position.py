"""Where trials lie in a hyperparameter's range: 0 at the lower end of its scale, 1 at the upper."""

from __future__ import annotations

import numpy as np
import polars as pl

from playbook.analysis.regret import Values
from playbook.study.space import Dimension, is_number


def positions(column: pl.Series, dimension: Dimension) -> Values:
    """The position of each value of an ordered dimension, clipped to [0, 1]; NaN where there is no value."""
    places = [dimension.position(value) if is_number(value) else np.nan for value in column.to_list()]
    return np.clip(np.array(places, dtype=np.float64), 0.0, 1.0)
