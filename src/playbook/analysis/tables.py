"""The tables that the analysis reads, whoever ran the trials."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar, cast

import polars as pl

from playbook.examples import Examples
from playbook.study.design import Objective
from playbook.study.load import StudyRecord
from playbook.study.ranking import ranked, setting_keys
from playbook.study.space import Dimension
from playbook.validation import show

CURVE_COLUMNS = {"trial": pl.Int64(), "step": pl.Int64(), "metric": pl.String(), "value": pl.Float64()}
RUNG_COLUMNS = {
    **{"trial": pl.Int64(), "arm": pl.String(), "status": pl.String()},
    **{"share": pl.Float64(), "step": pl.Int64(), "reached": pl.Float64()},
}


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
    `examples` has what the validation examples had to say, of the trials that recorded it. Where they are known,
    `trials` has `objective_se` (Float64: the standard error of the objective over its examples) and `n_examples`.
    """

    trials: pl.DataFrame
    objective: Objective
    curves: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CURVE_COLUMNS))
    steps: Mapping[int, pl.DataFrame] = field(default_factory=dict)
    examples: Mapping[int, Examples] = field(default_factory=dict)
    space: Mapping[str, Mapping[str, Dimension]] = field(default_factory=dict)
    scientific: tuple[str, ...] = ()
    repeat: tuple[str, ...] = ()
    max_steps: int | None = None  # of a trial, with warmup
    warmup_steps: int = 0  # of these
    clip_norm: float | None = None
    chance: float | None = None  # the objective of the best constant prediction, where it is known
    rungs: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RUNG_COLUMNS))  # `StudyRecord.rungs`
    judged_by: Literal["best", "final"] = "best"  # which value of a trial's curve is its objective
    adaptive: bool = False  # trials were chosen for what others showed: they do not fill the space, their order counts
    _computed: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

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
        """The trials (of an arm) that have a finite objective, best first: by their setting where that is repeated."""
        return ranked(self.trials if arm is None else self.of_arm(arm), self.objective, self.setting_keys())

    def setting_keys(self, arm: str | None = None) -> list[str] | None:
        """The columns that make a setting (of an arm), beside the arm. Trials of equal ones are repeats.

        None where nothing is known that tells trials of an arm apart, not even a seed: then each is a setting.
        """
        spaces = self.space.values() if arm is None else [self.space.get(arm, {})]
        varied = {key for space in spaces for key in space if key in self.trials.columns}
        seeds = "seed" in self.trials.columns and self.trials["seed"].drop_nulls().n_unique() > 1
        return setting_keys(varied, self.repeat) if varied or seeds else None

    def curve(self, trial: int, metric: str) -> pl.DataFrame:
        """`step` and `value` of a metric of a trial, by step."""
        found = self.curves.filter((pl.col("trial") == trial) & (pl.col("metric") == metric))
        return found.select("step", "value").sort("step")


Rest = ParamSpec("Rest")
Result = TypeVar("Result")


def computed_once(function: Callable[Rest, Result]) -> Callable[Rest, Result]:
    """A function of tables, first, and of hashable things, whose result is kept with the tables: it is not changed."""

    @wraps(function)
    def kept(*given: Rest.args, **named: Rest.kwargs) -> Result:
        results, key = cast(Tables, given[0])._computed, (function, given[1:], tuple(named.items()))
        if key not in results:
            results[key] = function(*given, **named)
        return cast(Result, results[key])

    return kept


NUM_BEST = 5
"""How many of the best trials are looked at step by step."""
MOST_ARMS = 20
"""Of so many arms the best trial is looked at step by step too."""


def tables_of(study: StudyRecord, metric: str | None = None) -> Tables:
    """The tables of a study, with the steps of the best trials: of all and of each arm.

    `metric` is what it will be judged by, where that is not its own objective.
    """
    design = study.design
    # What a paused trial would reach at its end is unknown: it is in `rungs` alone.
    trials = study.trials.filter(pl.col("status") != "paused")
    space = {arm: design.space_of(arm) for arm in trials["arm"].unique(maintain_order=True)}
    curves = study.curves().filter(pl.col("trial").is_in(trials["trial"].to_list()))
    # val/correct/7 is of one class, and mostly not what a trial is judged by.
    judge = [design.objective.metric, *([] if metric is None else [metric])]
    wanted = (pl.col("metric").str.count_matches("/") < 2) | pl.col("metric").is_in(judge)
    clip_norm, warmup_steps = design.fixed.get("clip_norm"), design.fixed.get("warmup_steps")
    tables = Tables(
        trials=trials,
        objective=design.objective,
        curves=curves.filter(wanted),
        examples=study.examples,
        space=space,
        scientific=tuple(design.scientific),
        repeat=tuple(design.repeat),
        max_steps=_last(trials),
        warmup_steps=warmup_steps if isinstance(warmup_steps, int) else 0,
        clip_norm=float(clip_norm) if isinstance(clip_norm, int | float) else None,
        chance=_chance(study),
        adaptive=design.bayesian is not None,
        rungs=study.rungs,
    )
    steps = {trial: study.steps(trial) for trial in best_trials(tables)}
    return replace(tables, steps={trial: table for trial, table in steps.items() if len(table)})


def best_trials(tables: Tables) -> list[int]:
    """The best trials, best first, and then those of the arms that are not among them."""
    best = tables.ranked()["trial"].head(NUM_BEST).to_list()
    of_arms = [trial for arm in tables.arms[:MOST_ARMS] for trial in tables.ranked(arm)["trial"].head(1)]
    return list(dict.fromkeys([*best, *of_arms]))


def _last(trials: pl.DataFrame) -> int | None:
    """The steps of a whole trial, with warmup."""
    steps = trials.filter(pl.col("status") == "complete")["steps"].max()
    return steps if isinstance(steps, int) else None


def _chance(study: StudyRecord) -> float | None:
    """What the best constant prediction gets, where all trials agree on it."""
    found = {each.result.chance for each in study.outcomes if each.result and each.result.chance is not None}
    return found.pop() if len(found) == 1 else None


def conditions(study: StudyRecord) -> dict[tuple[str, str], str]:
    """Under which condition a conditional hyperparameter exists, by arm and key: `optimizer=adam`."""
    design = study.design
    if design.listed_trials:
        return {}
    return {
        (arm.name, key): " and ".join(
            f"{name}={'|'.join(show(value) for value in values)}" for name, values in conditional.when.items()
        )
        for arm in design.arms
        for conditional in design.conditional
        if conditional.holds(arm.settings)
        for key in conditional.space
    }
