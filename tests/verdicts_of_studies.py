"""Verdicts on synthetic studies whose faults are known: with and without each, drawn at random.

The thresholds were chosen on other draws (`DEVELOPMENT`); `HELD_OUT` was run once, when they were done. A verdict is
right if what is there is advised on or called a problem, and what is not there is neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from synthetic_tables import a_space, study

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables

DEVELOPMENT, HELD_OUT = 1, 97
DRAWS = 30

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "parabola": lambda d: d**2,
    "valley with straight sides": lambda d: np.abs(d) / 2,
    "valley in a plateau": lambda d: np.tanh(2 * np.abs(d)) ** 2 / 2,
}


@dataclass(frozen=True)
class Case:
    """A study and whether the findings about it are right."""

    tables: Tables
    find: Callable[[Tables], list[Finding]]
    fault: bool
    named: Callable[[Finding], bool] = lambda finding: finding.severity != "info"

    def right(self) -> bool:
        return any(self.named(each) for each in self.find(self.tables)) == self.fault

    def called_a_problem(self) -> bool:
        return any(each.severity == "problem" for each in self.find(self.tables))


def a_study(rng, num_trials: int, dimensions: int, *, lr: float, loudest: float = 0.25, **others) -> Tables:
    """One whose loss is lowest at position `lr` of the learning rate and somewhere inside the other hyperparameters.

    The scale of the loss, its shape, the noise (2 to 25 % of the spread), the direction and the sequence are drawn.
    """
    space = a_space(rng, dimensions)
    best = {key: rng.uniform(0.3, 0.7) for key in space} | {"lr": lr}
    weight = {key: rng.uniform(0.2, 1.0) for key in space} | {"lr": 1.0}
    shape, scale = SHAPES[str(rng.choice(list(SHAPES)))], 10 ** rng.uniform(-3, 3)

    def loss(at):
        return scale * (1 + sum(weight[key] * shape(u - best[key]) for key, u in at.items()))

    spread = np.std(loss({key: rng.random(300) for key in space}))
    noise = float(spread * rng.uniform(0.02, loudest))
    mode, seed = str(rng.choice(["min", "max"])), int(rng.integers(1e6))
    return study(num_trials, space, loss, noise=noise, mode=mode, seed=seed, **others)


def with_monsters(tables: Tables, rng, fraction: float) -> Tables:
    """Some trials ended with a loss of 1e17 that is finite."""
    hit = pl.Series(rng.random(len(tables.trials)) < fraction)
    objective = pl.when(hit & pl.col("objective").is_not_null()).then(tables.sign * 1e17).otherwise("objective")
    return replace(tables, trials=tables.trials.with_columns(objective=objective))


EACH_DRAW = pytest.mark.parametrize(
    "seed",
    [pytest.param(DEVELOPMENT, id="development", marks=pytest.mark.integration), pytest.param(HELD_OUT, id="held out")],
)


def check_verdicts(kind: Callable[[np.random.Generator, bool], Case], seed: int) -> None:
    """The verdict is right on 95 % of the draws with and without the fault, and no clean one has a problem."""
    cases = [kind(np.random.default_rng([seed, draw, fault]), bool(fault)) for draw in range(DRAWS) for fault in (0, 1)]
    assert np.mean([case.right() for case in cases]) >= 0.95
    assert not any(case.called_a_problem() for case in cases if not case.fault)
