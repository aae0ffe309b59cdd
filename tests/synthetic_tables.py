"""Synthetic studies as tables: quasi-random trials of a space with a response that the test knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.tables import Tables
from playbook.study import halton
from playbook.study.design import ONLY_ARM, Objective
from playbook.study.space import Choice, Dimension, Float, Int

Positions = Mapping[str, NDArray[np.float64]]
"""Where each trial lies in each hyperparameter: u in [0, 1), the number that the dimension turned into its value."""


def study(
    num_trials: int,
    space: Mapping[str, Dimension],
    response: Callable[[Positions], NDArray[np.float64]],
    *,
    seed: int = 0,
    noise: float = 0.0,
    infeasible: Callable[[Positions], NDArray[np.bool_]] | None = None,
    mode: str = "min",
    arm: str = ONLY_ARM,
) -> Tables:
    """A study of one arm. `response` is a loss, whatever the mode: with `max` the objective is its negative."""
    u = halton.points(seed, np.arange(num_trials), len(space))
    at = {key: u[:, place] for place, key in enumerate(space)}
    loss = response(at) + noise * np.random.default_rng(seed).standard_normal(num_trials)
    failed = np.zeros(num_trials, bool) if infeasible is None else infeasible(at)
    objective = [None if bad else value for bad, value in zip(failed, loss if mode == "min" else -loss, strict=True)]
    columns = {key: [each.at(float(v)) for v in at[key]] for key, each in space.items()}
    return tables(objective, columns, space, mode=mode, arm=arm)


def tables(
    objective: list[float | None],
    columns: Mapping[str, list],
    space: Mapping[str, Dimension],
    *,
    mode: str = "min",
    arm: str = ONLY_ARM,
    **others,
) -> Tables:
    """The tables of trials whose objective and hyperparameters are given; None is an infeasible trial."""
    num_trials = len(objective)
    frame = pl.DataFrame(
        {
            "trial": pl.Series(range(num_trials), dtype=pl.Int64),
            "arm": [arm] * num_trials,
            "status": ["infeasible" if value is None else "complete" for value in objective],
            "objective": pl.Series(objective, dtype=pl.Float64),
            "best_step": pl.Series([None] * num_trials, dtype=pl.Int64),
            "final_objective": pl.Series(objective, dtype=pl.Float64),
            "seed": pl.Series([0] * num_trials, dtype=pl.Int64),
            **columns,
        },
        strict=False,
    )
    return Tables(frame, Objective("val/error", mode), space={arm: dict(space)}, **others)


def together(*studies: Tables, scientific: tuple[str, ...] = ("optimizer",)) -> Tables:
    """One study whose arms are the given ones'."""
    frame = pl.concat([each.trials for each in studies], how="diagonal")
    frame = frame.with_columns(trial=pl.int_range(len(frame), dtype=pl.Int64))
    space = {arm: dims for each in studies for arm, dims in each.space.items()}
    return Tables(frame, studies[0].objective, space=space, scientific=scientific)


def a_space(rng: np.random.Generator, dimensions: int) -> dict[str, Dimension]:
    """Hyperparameters as people search them: lr first, then a draw of the others."""
    others: dict[str, Dimension] = {
        "optimizer.momentum": Float(0.8, 0.99, "log_one_minus"),
        "optimizer.weight_decay": Float(1e-6, 1e-2, "log"),
        "model.dropout": Float(0.0, 0.5),
        "model.width": Int(32, 512, "log"),
        "task.label_smoothing": Float(0.0, 0.3),
        "model.activation": Choice(("relu", "tanh", "gelu")),
        "optimizer.epsilon": Float(1e-9, 1e-4, "log"),
    }
    names = rng.permutation(list(others))[: dimensions - 1]
    low = 10 ** rng.uniform(-5, -3)
    return {"lr": Float(low, low * 10 ** rng.uniform(2, 4), "log"), **{str(name): others[str(name)] for name in names}}


def grid_of_seeds(lrs: list[float], seeds: list[int], objective: Callable[[float, int], float]) -> Tables:
    """A study of each lr with each seed, whose settings are repeated by the seed."""
    rows = [(lr, seed) for lr in lrs for seed in seeds]
    trials = pl.DataFrame(
        {
            "trial": range(len(rows)),
            "arm": "all",
            "status": "complete",
            "objective": [float(objective(lr, seed)) for lr, seed in rows],
            "seed": [seed for _, seed in rows],
            "lr": [lr for lr, _ in rows],
        }
    )
    space = {"all": {"lr": Float(0.001, 1.0, "log"), "seed": Choice(tuple(seeds))}}
    return Tables(trials, Objective(), space=space, repeat=("seed",))
