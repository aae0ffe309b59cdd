"""Which trial is best: the one of the best objective, and of the best setting where settings are repeated.

The best of some repeats of a setting, with another seed say, is the luckiest one; the mean over them is not. Trials of
equal hyperparameters are repeats wherever they come from, whatever their study calls them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import polars as pl

from playbook.study.design import Objective

_SEED = re.compile(r"(^|[._/-])(seed|random_state)$", re.IGNORECASE)


def setting_keys(keys: Iterable[str], repeat: Iterable[str] = ()) -> list[str]:
    """Those of the hyperparameters that make a setting: `repeat` and seeds (`seed`, `data.split_seed`) do not."""
    return sorted({*keys} - {*repeat} - {key for key in keys if is_seed(key)})


def is_seed(key: str) -> bool:
    """Whether another value of it is another run of one setting."""
    return _SEED.search(key.replace("_seed", ".seed")) is not None


def over_again(columns: Iterable[str], setting: Sequence[str]) -> pl.Expr:
    """0, 1, … of the trials of a setting with one seed: a seed over again is no repeat; an unknown one is another."""
    if "seed" not in columns:
        return pl.lit(0)
    return pl.when(pl.col("seed").is_null()).then(0).otherwise(pl.int_range(pl.len()).over([*setting, "seed"]))


def ranked(trials: pl.DataFrame, objective: Objective, settings: Sequence[str] | None = None) -> pl.DataFrame:
    """The trials that have a finite objective, best first.

    `settings` names the columns that make a setting, beside the arm; None: each trial is one. They are ranked by their
    mean over repeats, and after all others where a repeat did not train; a crash does not count. First comes one
    trial of each setting, that nearest to the mean, then the other repeats.
    """
    trained = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    loss = pl.when(trained).then(pl.col("objective") * (1 if objective.mode == "min" else -1))
    if settings is None:
        return trials.filter(trained).sort(loss, "trial")
    setting = ["arm", *settings, "_again"]
    tried = trials.filter(pl.col("status") != "crashed")
    tried = tried.with_columns(_again=over_again(tried.columns, setting[:-1]))
    whole = loss.is_not_null().all().over(setting)
    mean = pl.when(whole).then(loss.mean().over(setting))
    is_repeat = (loss - loss.mean()).abs().rank("ordinal").over(setting) > 1
    return tried.sort(is_repeat, mean, loss, "trial", nulls_last=True).filter(trained).drop("_again")
