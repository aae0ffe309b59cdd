"""Four surfaces to search, a third of each infeasible: what a Bayesian search finds, and quasi-random points as many.

Each is of settings as a study has them, on every scale, and of a design whose trials nobody has to train.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from playbook.bayesian.proposals import propose
from playbook.run_files import Result
from playbook.study.bayesian import Bayesian, Told
from playbook.study.design import Design, Objective, Trial
from playbook.study.space import Choice, Dimension, Float, Int
from playbook.study.study_files import Outcome

NOISE = 0.002
"""Standard deviation of an objective: a tenth of what the better points differ by."""
Loss = Callable[[Mapping[str, Any]], float]
"""The true objective of a setting; NaN where it diverges."""


@dataclass(frozen=True)
class Surface:
    """A space, and what its settings are worth; `least` is the best there is, by a million points."""

    name: str
    space: Mapping[str, Dimension]
    loss: Loss
    least: float

    def design(self, seed: int) -> Design:
        """A study of the space that has told nothing yet."""
        return Design(self.name, Objective("loss", "min"), seed=seed, nuisance=self.space)


def _at(space: Mapping[str, Dimension], settings: Mapping[str, Any]) -> list[float]:
    """Positions in the ranges, from 0 to 1."""
    return [each.position(settings[key]) for key, each in space.items() if not isinstance(each, Choice)]


STEEP = {"lr": Float(1e-4, 1.0, "log"), "weight_decay": Float(1e-6, 1e-2, "log")}
CURVED = {"lr": Float(1e-5, 1.0, "log"), "dropout": Float(0.0, 1.0)}
MOMENTUM = {
    "lr": Float(1e-4, 1.0, "log"),
    "momentum": Float(0.0, 0.999, "log_one_minus"),
    "width": Int(16, 512, "log"),
    "dropout": Float(0.0, 0.5),
}
DEPTH = {"lr": Float(1e-4, 1.0, "log"), "depth": Int(1, 8), "activation": Choice(("relu", "gelu", "tanh"))}


def steep(settings: Mapping[str, Any]) -> float:
    """The best learning rate lies next to those that diverge."""
    lr, decay = _at(STEEP, settings)
    return math.nan if lr > 0.667 else 0.05 + 3 * abs(lr - 0.62) ** 1.5 + (decay - 0.4) ** 2


def curved(settings: Mapping[str, Any]) -> float:
    """Branin's three valleys, of which a line takes one."""
    x, y = (15 * each for each in _at(CURVED, settings))
    if 0.6 * (x - 5) + y > 11.5:
        return math.nan
    valley = y - 5.1 / (4 * math.pi**2) * (x - 5) ** 2 + 5 / math.pi * (x - 5) - 6
    return 0.05 + (valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x - 5) + 10) / 300


def momentum(settings: Mapping[str, Any]) -> float:
    """What counts is lr over 1 − momentum; where it is small the loss is a monster, and where large there is none."""
    lr, one_minus, width, dropout = _at(MOMENTUM, settings)
    effective = lr + 0.6 * (one_minus - 0.5)
    if effective > 0.66:
        return math.nan
    shape = 3 * (effective - 0.55) ** 2 + 0.3 * (width - 0.7) ** 2 + 0.2 * (dropout - 0.3) ** 2
    return 0.2 + shape + 5 * math.exp(-12 * (effective + 0.3))


def depth(settings: Mapping[str, Any]) -> float:
    """A deeper net wants a lower learning rate, and each activation bears another."""
    lr, deep = _at(DEPTH, settings)
    bears, worse = {"relu": (0.75, 0.0), "gelu": (0.85, -0.02), "tanh": (1.0, 0.03)}[settings["activation"]]
    if lr + 0.35 * deep > bears:
        return math.nan
    return 0.15 + worse + 1.5 * (lr - 0.7 + 0.4 * deep) ** 2 + 0.1 * (deep - 0.6) ** 2


SURFACES = (
    Surface("steep", STEEP, steep, 0.05),
    Surface("curved", CURVED, curved, 0.0513),
    Surface("momentum", MOMENTUM, momentum, 0.2),
    Surface("depth", DEPTH, depth, 0.13),
)


def ended(trial: Trial, objective: float) -> Outcome:
    """How a trial ended that has this objective, NaN for one that diverged."""
    diverged = math.isnan(objective)
    value = None if diverged else objective
    status = "infeasible" if diverged else "complete"
    return Outcome(trial, status, Result(status, value, 1, value, 10, 1.0, {}, 0, "loss", "min"))


def told_of(design: Design, outcomes: list[Outcome]) -> Design:
    """The search that is told these trials of a quasi-random study of the same space."""
    told = tuple(
        Told(each.trial.number, each.trial.settings, each.result.objective if each.result else None)
        for each in outcomes
    )
    return replace(design, bayesian=Bayesian("start", told))


def regret(surface: Surface, outcomes: list[Outcome]) -> float:
    """How far the truth of the trial that looks best is from the least there is."""
    trained = [each for each in outcomes if each.result is not None and each.result.objective is not None]
    if not trained:
        return math.inf
    best = min(trained, key=lambda each: each.result.objective)  # type: ignore[union-attr,arg-type,return-value]
    return surface.loss(best.trial.settings) - surface.least


def searched(surface: Surface, seed: int, num_told: int, num_trials: int, parallel: int = 1) -> tuple[float, float]:
    """The regret of a search of `num_trials`, the first `num_told` quasi-random, and that of as many quasi-random."""
    rng = np.random.default_rng([seed, len(surface.space)])
    noise = NOISE * rng.standard_normal(2 * num_trials)
    design = surface.design(seed)

    def run(trials: list[Trial], luck: Any) -> list[Outcome]:
        return [ended(each, surface.loss(each.settings) + luck[each.number]) for each in trials]

    quasi_random = run(design.trials(num_trials), noise)
    search, own = told_of(design, quasi_random[:num_told]), []
    while (left := num_trials - num_told - len(own)) > 0:
        search = propose(search, own, min(parallel, left))
        own += run(search.trials(num_trials)[len(own) :], noise[num_trials:])
    return regret(surface, [*quasi_random[:num_told], *own]), regret(surface, quasi_random)
