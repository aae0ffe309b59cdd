"""The tables that the analysis reads, whoever ran the trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from playbook.study.design import Objective
from playbook.study.space import Dimension

CURVE_COLUMNS = {"trial": pl.Int64(), "step": pl.Int64(), "metric": pl.String(), "value": pl.Float64()}


@dataclass(frozen=True)
class Tables:
    """A study as tables.

    `trials` has a row a trial: `trial` (Int64), `arm` (String), `status` (`complete`, `infeasible` or `crashed`),
    `objective` (Float64: the best value over the course of training, null where infeasible), `best_step` (Int64 or
    null), `final_objective` (Float64 or null), `seed`, and a column per hyperparameter, in the type of its values; and,
    where it is known, the `reason` of an infeasible one.
    `curves` has a row an evaluation of a metric: `CURVE_COLUMNS`; values may be NaN or infinite; it may be empty.
    `steps` has the `steps.csv` of some trials, the best among them. `space` has, for each arm, the dimension of each
    hyperparameter that varies there, the scientific ones too. `scientific` names those whose values make the arms.
    """

    trials: pl.DataFrame
    objective: Objective
    curves: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CURVE_COLUMNS))
    steps: Mapping[int, pl.DataFrame] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Dimension]] = field(default_factory=dict)
    scientific: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    max_steps: int | None = None  # of a trial, with warmup
    warmup_steps: int = 0  # of these
    clip_norm: float | None = None
    chance: float | None = None  # the objective of the best constant prediction, where it is known
    judged_by: Literal["best", "final"] = "best"  # which value of a trial's curve is its objective

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, in order of appearance."""
        return tuple(self.trials["arm"].unique(maintain_order=True).to_list())

    @property
    def sign(self) -> int:
        """1 where lower is better, else −1: times the objective, lower is better."""
        return 1 if self.objective.mode == "min" else -1

    def of_arm(self, arm: str) -> pl.DataFrame:
        """The trials of an arm."""
        return self.trials.filter(pl.col("arm") == arm)

    def ranked(self, arm: str | None = None) -> pl.DataFrame:
        """The trials (of an arm) that have a finite objective, best first."""
        table = self.trials if arm is None else self.of_arm(arm)
        kept = table.filter((pl.col("status") == "complete") & pl.col("objective").is_finite())
        return kept.sort(pl.col("objective") * self.sign, "trial")

    def curve(self, trial: int, metric: str) -> pl.DataFrame:
        """`step` and `value` of a metric of a trial, by step."""
        found = self.curves.filter((pl.col("trial") == trial) & (pl.col("metric") == metric))
        return found.select("step", "value").sort("step")
