"""What the training loss does after a step of each trial: what tells overfitting from instability."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis import metrics
from playbook.analysis.curves import Values, condensed, of_metric
from playbook.analysis.rise import rises
from playbook.analysis.tables import Tables
from playbook.analysis.trend import trend

_SIGNIFICANT = 1.645  # one in twenty


def training_after(tables: Tables, trials: NDArray[np.int64], since: Values) -> pl.DataFrame:
    """`trial` and `training`: whether the training loss `falls`, is `flat` or `rises` after `since` (a step a trial).

    Trials without a curve of it are left out.
    """
    metric = metrics.training_metric(tables)
    if metric is None:
        return pl.DataFrame(schema={"trial": pl.Int64(), "training": pl.String()})
    curves = of_metric(tables, metric)
    curves = curves.only(np.isin(curves.trials, trials))
    points = condensed(curves)
    begin = since[np.searchsorted(trials, curves.trials)]
    after = (points.steps >= begin[:, None]) & (points.columns < points.lengths[:, None])
    z = trend(points.values, after)
    rising = (z > _SIGNIFICANT) | rises(curves).hint | curves.broken
    course = np.where(rising, "rises", np.where(z < -_SIGNIFICANT, "falls", "flat"))
    return pl.DataFrame({"trial": curves.trials, "training": course}, schema_overrides={"training": pl.String()})
