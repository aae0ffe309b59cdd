"""Which trial is best: the one of the best objective, and of the best setting where settings are repeated.

The best of some repeats of a setting, with another seed say, is the luckiest one; the mean over them is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from playbook.study.design import Objective


def ranked(trials: pl.DataFrame, objective: Objective, settings: Sequence[str] | None = None) -> pl.DataFrame:
    """The trials that have a finite objective, best first.

    `settings` names the columns that make a setting, beside the arm, where settings are repeated. They are ranked by
    their mean over repeats, and after all others where a repeat did not train; a crash does not count. First comes one
    trial of each setting, that nearest to the mean, then the other repeats.
    """
    trained = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    loss = pl.when(trained).then(pl.col("objective") * (1 if objective.mode == "min" else -1))
    if settings is None:
        return trials.filter(trained).sort(loss, "trial")
    tried, setting = trials.filter(pl.col("status") != "crashed"), ["arm", *settings]
    whole = loss.is_not_null().all().over(setting)
    mean = pl.when(whole).then(loss.mean().over(setting))
    is_repeat = (loss - loss.mean()).abs().rank("ordinal").over(setting) > 1
    return tried.sort(is_repeat, mean, loss, "trial", nulls_last=True).filter(trained)
