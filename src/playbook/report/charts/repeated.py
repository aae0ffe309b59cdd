"""Settings that were run more than once, as they are drawn: their mean, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import polars as pl

from playbook.analysis.repeats import setting_of_trials
from playbook.analysis.tables import Tables, computed_once
from playbook.text import count


@dataclass(frozen=True)
class Repeated:
    """A setting with two repeats or more, each of which trained.

    `trial` is the repeat nearest to the `mean` of the objective, and stands for it; `se` is the standard error of the
    mean over its `trials`.
    """

    arm: str
    trial: int
    trials: tuple[int, ...]
    mean: float
    se: float

    @property
    def label(self) -> str:
        """How it is named in a legend."""
        return f"trial {self.trial} and {count(len(self.trials) - 1, 'repeat')}"


@computed_once
def repeated(tables: Tables) -> tuple[Repeated, ...]:
    """The repeated settings, the best mean first."""
    value = pl.when((pl.col("status") == "complete") & pl.col("objective").is_finite()).then("objective")
    found = []
    for arm in tables.arms:
        trials = setting_of_trials(tables, arm).join(tables.of_arm(arm), on="trial", maintain_order="left")
        rows = trials.group_by("setting", maintain_order=True).agg(
            "trial",
            mean=value.mean(),
            sd=value.std(),
            whole=value.is_not_null().all(),
            nearest=pl.col("trial").sort_by((value - value.mean()).abs(), nulls_last=True).first(),
        )
        kept = rows.filter(pl.col("whole") & (pl.col("trial").list.len() > 1) & pl.col("sd").is_finite())
        found += [
            Repeated(arm, row["nearest"], tuple(row["trial"]), row["mean"], row["sd"] / sqrt(len(row["trial"])))
            for row in kept.iter_rows(named=True)
        ]
    return tuple(sorted(found, key=lambda each: each.mean * tables.sign))
