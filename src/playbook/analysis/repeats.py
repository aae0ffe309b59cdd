"""Trials that repeat a setting, with another seed say, as one: the best of them would be the luckiest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from playbook.analysis.regret import Values, comparable, losses
from playbook.analysis.tables import Tables, computed_once
from playbook.study.ranking import over_again

OF_REPEATS = ("_mean", "_count", "_variance", "_trial")
"""The columns beside the hyperparameters, which may have any name."""


def settings(tables: Tables, arm: str) -> pl.DataFrame:
    """A row a setting of an arm, in order of appearance: its hyperparameters, and `OF_REPEATS` of its objective.

    `_mean` is null where a repeat did not train; a crash does not count. `_trial` is the repeat nearest to the mean.
    """
    trials, keys = _trials_and_keys(tables, arm)
    kept = (pl.col("status") == "complete") & pl.col("objective").is_finite()
    value = pl.when(kept).then("objective")
    mean = pl.when(value.is_not_null().all()).then(value.mean())
    return (
        trials.group_by("arm", *keys, maintain_order=True)
        .agg(
            _mean=mean,
            _count=value.count(),
            _variance=value.var(),
            _trial=pl.col("trial").sort_by((value - value.mean()).abs(), nulls_last=True).first(),
        )
        .drop("arm", "_again", strict=False)
    )


@dataclass(frozen=True)
class Setting:
    """A setting of which every repeat trained. `trial` is the repeat nearest to the mean, `losses` are of `trials`.

    A loss is the objective, times −1 where more of it is better.
    """

    arm: str
    trial: int
    trials: tuple[int, ...]
    losses: Values

    @cached_property
    def loss(self) -> float:
        """The mean over its repeats."""
        if len(self.losses) == 1:  # of ten thousand, mostly
            return float(self.losses[0])
        return float(np.mean(self.losses / len(self.losses)) * len(self.losses))  # whose sum may be infinite


def trained_settings(tables: Tables, arm: str | None = None) -> tuple[Setting, ...]:
    """The settings (of an arm) of which every repeat trained, the best first, as `Tables.ranked` has them."""
    return _trained_settings(tables).get(arm, ())


@computed_once
def _trained_settings(tables: Tables) -> dict[str | None, tuple[Setting, ...]]:
    """By arm, and of all."""
    trials, keys = comparable(tables.trials), tables.setting_keys()
    again = over_again(trials.columns, ["arm", *keys]) if keys is not None else pl.col("trial")
    columns = [*(keys or ()), "_again"]
    trials = trials.with_columns(_again=again, _loss=pl.Series(losses(trials, tables.sign)))
    grouped = trials.group_by("arm", *columns, maintain_order=True).agg(_trial="trial", _losses="_loss")
    found = []
    for name, numbers, values in grouped.select("arm", "_trial", "_losses").iter_rows():
        loss = np.array(values)
        if np.isfinite(loss).all():
            middle = float(np.mean(loss / len(loss)) * len(loss))
            order = np.lexsort((numbers, loss, np.abs(loss - middle))) if len(loss) > 1 else [0]
            found.append(Setting(name, numbers[order[0]], tuple(numbers), loss))
    found.sort(key=lambda each: (each.loss, each.trial))
    of_arms: dict[str | None, list[Setting]] = {None: found}
    for each in found:
        of_arms.setdefault(each.arm, []).append(each)
    return {arm: tuple(each) for arm, each in of_arms.items()}


@computed_once
def is_repeated(tables: Tables) -> bool:
    """Whether some setting was tried more than once."""
    return any(setting_of_trials(tables, arm)["setting"].is_duplicated().any() for arm in tables.arms)


def setting_of_trials(tables: Tables, arm: str) -> pl.DataFrame:
    """`trial` and `setting`, a number from 0 on: which setting each trial of an arm repeats; a crash does not count."""
    trials, keys = _trials_and_keys(tables, arm)
    grouped = trials.group_by("arm", *keys, maintain_order=True).agg(_trial="trial")
    return grouped.with_row_index("setting").select("setting", trial="_trial").explode("trial")


def noun(tables: Tables) -> str:
    """What is counted where settings are."""
    return "settings" if is_repeated(tables) else "trials"


def _trials_and_keys(tables: Tables, arm: str) -> tuple[pl.DataFrame, list[str]]:
    trials, keys = comparable(tables.of_arm(arm)), tables.setting_keys(arm)
    if keys is None:
        return trials, ["trial"]
    return trials.with_columns(_again=over_again(trials.columns, keys)), [*keys, "_again"]


@computed_once
def averaged(tables: Tables) -> Tables:
    """The tables with a row a setting where settings are repeated: settings are ranked by their mean over repeats.

    A setting has the number of its repeat nearest to the mean, and is infeasible where a repeat did not train. The
    tables as they are where nothing is repeated.
    """
    if not len(tables.trials) or not is_repeated(tables):
        return tables
    trained = pl.when(pl.col("_mean").is_not_null()).then(pl.lit("complete")).otherwise(pl.lit("infeasible"))
    rows = [
        settings(tables, arm).with_columns(
            arm=pl.lit(arm), trial="_trial", status=trained, objective="_mean", best_step=pl.lit(None, pl.Int64())
        )
        for arm in tables.arms
    ]
    return replace(tables, trials=pl.concat(rows, how="diagonal_relaxed").drop(OF_REPEATS), repeat=())
