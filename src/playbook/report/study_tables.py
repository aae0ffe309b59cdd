"""From a study's folder to the tables that the analysis reads."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from playbook.analysis.tables import Tables
from playbook.study.load import Study
from playbook.validation import show

NUM_BEST = 5
"""How many of the best trials are looked at step by step."""
MOST_ARMS = 20
"""Of so many arms the best trial is looked at step by step too."""


def study_tables(study: Study, metric: str | None = None) -> Tables:
    """The tables of a study, with the steps of the best trials: of all and of each arm.

    `metric` is what it will be judged by, where that is not its own objective.
    """
    design = study.design
    trials = study.trials
    space = {arm: design.space_of(arm) for arm in trials["arm"].unique(maintain_order=True)}
    curves = study.curves()
    # val/correct/7 is of one class, and mostly not what a trial is judged by.
    judge = [design.objective.metric, *([] if metric is None else [metric])]
    wanted = (pl.col("metric").str.count_matches("/") < 2) | pl.col("metric").is_in(judge)
    clip_norm, warmup_steps = design.fixed.get("clip_norm"), design.fixed.get("warmup_steps")
    tables = Tables(
        trials=trials,
        objective=design.objective,
        curves=curves.filter(wanted),
        space=space,
        scientific=tuple(design.scientific),
        repeat=tuple(design.repeat),
        max_steps=_last(trials),
        warmup_steps=warmup_steps if isinstance(warmup_steps, int) else 0,
        clip_norm=float(clip_norm) if isinstance(clip_norm, int | float) else None,
        chance=_chance(study),
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


def _chance(study: Study) -> float | None:
    """What the best constant prediction gets, where all trials agree on it."""
    found = {each.result.chance for each in study.outcomes if each.result and each.result.chance is not None}
    return found.pop() if len(found) == 1 else None


def conditions(study: Study) -> dict[tuple[str, str], str]:
    """Under which condition a conditional hyperparameter exists, by arm and key: `optimizer=adam`."""
    design = study.design
    if design.settings:
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
