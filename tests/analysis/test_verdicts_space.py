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
from synthetic_tables import a_space, study, together

from playbook.analysis.finding import Finding
from playbook.analysis.rules import arms, best_of_n, boundary, importance, infeasible, stability_edge
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


def space_boundary(rng, fault: bool) -> Case:
    dimensions = int(rng.integers(1, 5))
    end, outside = str(rng.choice(["lower", "upper"])), rng.uniform(0.1, 0.5)
    inside = rng.uniform(0.25, 0.75)
    at = (-outside if end == "lower" else 1 + outside) if fault else inside
    tables = a_study(rng, int(rng.integers(12, 40)) * dimensions, dimensions, lr=at)
    if rng.random() < 0.3:
        tables = with_monsters(tables, rng, 0.1)

    def named(finding: Finding) -> bool:
        here = finding.parameter == "lr" and finding.evidence["end"] == end
        return finding.severity != "info" and (here or not fault)

    return Case(tables, boundary.find, fault, named)


def few_trials(rng, fault: bool) -> Case:
    num_trials = int(rng.integers(5, 9)) if fault else int(rng.integers(80, 250))
    dimensions = int(rng.integers(4, 7)) if fault else int(rng.integers(1, 4))
    return Case(a_study(rng, num_trials, dimensions, lr=rng.uniform(0.3, 0.7), loudest=0.15), best_of_n.find, fault)


def infeasible_fraction(rng, fault: bool) -> Case:
    share = rng.uniform(0.4, 0.8) if fault else rng.uniform(0.0, 0.05)
    tables = a_study(
        rng, int(rng.integers(16, 100)), 3, lr=rng.uniform(0.1, 0.4), infeasible=lambda at: at["lr"] > 1 - share
    )
    return Case(tables, infeasible.find, fault)


def lr_at_stability_edge(rng, fault: bool) -> Case:
    dimensions = int(rng.integers(1, 4))
    edge = rng.uniform(0.5, 0.8)
    at = edge + rng.uniform(0.0, 0.3) if fault else rng.uniform(0.05, 0.2)
    tables = a_study(
        rng,
        int(rng.integers(14, 40)) * dimensions,
        dimensions,
        lr=at,
        loudest=0.1,
        infeasible=lambda positions: positions["lr"] > edge,
    )
    return Case(tables, stability_edge.find, fault)


def what_matters(rng, fault: bool) -> Case:
    """`importance`: of four hyperparameters the lr matters, or none does."""
    num_trials, seed = int(rng.integers(20, 200)), int(rng.integers(1e6))
    best = rng.uniform(0.1, 0.9)
    tables = study(
        num_trials,
        a_space(rng, 4),
        lambda at: 2 + (at["lr"] - best) ** 2 if fault else np.full(num_trials, 2.0),
        noise=float(rng.uniform(0.005, 0.04)),
        seed=seed,
    )
    return Case(with_monsters(tables, rng, 0.05), importance.find, fault, lambda finding: finding.parameter == "lr")


def a_better_arm(rng, fault: bool) -> Case:
    """`arms`: one arm is better by half of the spread within them, or both are the same."""
    seed, noise, count = int(rng.integers(1e6)), rng.uniform(0.005, 0.02), int(rng.integers(12, 60))

    def arm(name: str, better: float, place: int) -> Tables:
        best = {key: rng.uniform(0.3, 0.7) for key in space}
        loss = lambda at: 1 - better + sum((u - best[key]) ** 2 for key, u in at.items())  # noqa: E731
        return study(count, space, loss, noise=noise, seed=seed + place, arm=name)

    space = a_space(rng, 2)
    tables = together(arm("optimizer=adam", 0.15 if fault else 0.0, 1), arm("optimizer=sgd", 0.0, 2))
    sure = arms.Thresholds().beyond_luck
    return Case(tables, arms.find, fault, lambda finding: max(finding.evidence["shares"].values()) >= sure)


KINDS = [space_boundary, few_trials, infeasible_fraction, lr_at_stability_edge, what_matters, a_better_arm]


@pytest.mark.parametrize("seed", [DEVELOPMENT, HELD_OUT], ids=["development", "held out"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_verdicts_are_right(kind, seed):
    cases = [kind(np.random.default_rng([seed, draw, fault]), bool(fault)) for draw in range(DRAWS) for fault in (0, 1)]
    assert np.mean([case.right() for case in cases]) >= 0.95
    assert not any(case.called_a_problem() for case in cases if not case.fault)
