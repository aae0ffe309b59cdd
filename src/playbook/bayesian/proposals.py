"""The next points of a search: where a Gaussian process of the results expects to improve on the best one (B12).

Optuna's GP sampler does the modelling: log expected improvement, times the probability that a setting trains at all,
by a second process that is told which did. It is asked anew for each proposal, with everything that is known, so that
point n is a function of the design and the results so far, whatever was killed and started again in between.

What it is told is not the objective. A loss of 1e17 beside 0.3, or a third of the trials at chance level, would leave a
smooth function nothing to say about the good ones. So it sees the *regret* of `playbook.analysis.regret`: 0 is the
best, 1 the typical point of those that fill the space, and everything from 2 on is 2, infeasible trials too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from playbook.analysis.regret import WORST, Values, robust
from playbook.randomness import fold_in
from playbook.study.bayesian import Bayesian
from playbook.study.design import Design
from playbook.study.space import Choice, Dimension, Float, Value, identity
from playbook.study.study_files import Outcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_STREAM = 12
"""Of the seed: proposals, which share no numbers with the sequence."""
_SEEDS = 2**32
"""Of numpy's older generators, which Optuna uses."""


@dataclass(frozen=True)
class Observed:
    """A setting that was tried, and its objective: None where it was infeasible. `fills`: it was not proposed."""

    settings: Mapping[str, Value]
    objective: float | None
    fills: bool


def propose(design: Design, ended: Sequence[Outcome], num_points: int) -> Design:
    """The design with `num_points` more points, to be tried at once: each counts those before it as running.

    `ended` are the trials of the study that have ended. One that crashed counts as infeasible here, since the same
    point would be proposed again.
    """
    search = _search(design)
    new = _Model(design, _observed(design, ended)).ask(num_points)
    return replace(design, bayesian=replace(search, proposed=(*search.proposed, *new)))


def _search(design: Design) -> Bayesian:
    assert design.bayesian is not None, "a study that is searched by a model"
    return design.bayesian


def _observed(design: Design, ended: Sequence[Outcome]) -> list[Observed]:
    search, (arm,) = _search(design), design.arms
    told = [Observed(each.settings, each.objective, fills=True) for each in search.told]
    num_first = search.num_quasi_random * len(arm.repeats)
    own = [
        Observed(
            {key: each.trial.settings[key] for key in arm.space},
            each.result.objective if each.result is not None and each.status == "complete" else None,
            fills=each.trial.number < num_first,
        )
        for each in sorted(ended, key=lambda each: each.trial.number)
    ]
    return [*told, *own]


def regrets(observed: Sequence[Observed], mode: Literal["min", "max"]) -> Values:
    """What the model is told of each: 0 for the best, 1 for the typical one of those that fill the space, at most 2.

    The typical one is not of all: proposals crowd around the best, and with them the scale would shrink to its noise.
    """
    sign = 1 if mode == "min" else -1
    loss = np.array([np.inf if each.objective is None else each.objective * sign for each in observed], dtype=float)
    finite = np.isfinite(loss)
    if not finite.any():
        return np.full(len(loss), WORST)
    best = float(loss[finite].min())
    usual = robust(loss[np.array([each.fills for each in observed], dtype=bool)])
    typical = float(np.median(usual)) if len(usual) else best
    if typical <= best:  # nothing fills the space, or half of that is as good as the best
        worse = robust(loss)
        worse = worse[worse > best]
        typical = float(np.median(worse)) if len(worse) else best + max(1.0, abs(best))
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = loss / (typical - best) - best / (typical - best)
    return np.where(finite, np.clip(scaled, 0.0, WORST), WORST)


class _Model:
    """Optuna's sampler, told what is known."""

    def __init__(self, design: Design, observed: Sequence[Observed]) -> None:
        self._design = design
        self._search = _search(design)
        (self._arm,) = design.arms
        self._parameters = {key: _Parameter(each) for key, each in self._arm.space.items() if each.size != 1}
        self._observed = observed

    def ask(self, num_points: int) -> list[dict[str, Value]]:
        """The next points."""
        import optuna

        seed = fold_in(self._design.seed, _STREAM, self._search.num_points)
        distributions = {key: each.distribution() for key, each in self._parameters.items()}
        with _quiet():
            sampler = optuna.samplers.GPSampler(seed=seed % _SEEDS, n_startup_trials=0)
            study = optuna.create_study(sampler=sampler)
            study.add_trials(self._trials(distributions))
            points: list[dict[str, Value]] = []
            known = {identity(each.settings) for each in self._observed}
            for _ in range(num_points):
                asked = study.ask(distributions).params
                point = {
                    key: self._parameters[key].value(asked[key]) if key in self._parameters else each.at(0.0)
                    for key, each in self._arm.space.items()
                }
                if identity(point) in known:  # the same seed would give the same number
                    point = next((other for other in self._sequence() if identity(other) not in known), point)
                known.add(identity(point))
                points.append(point)
        return points

    def _trials(self, distributions: Mapping[str, BaseDistribution]) -> list[FrozenTrial]:
        from optuna.trial import create_trial

        values = regrets(self._observed, self._design.objective.mode)
        has_limits = any(each.objective is None for each in self._observed)
        return [
            create_trial(
                params={key: each.place(one.settings[key]) for key, each in self._parameters.items()},
                distributions=dict(distributions),
                value=float(value),
                constraints={"feasible": 1.0 if one.objective is None else -1.0} if has_limits else None,
            )
            for one, value in zip(self._observed, values, strict=True)
        ]

    def _sequence(self) -> Iterator[dict[str, Value]]:
        """The points of the quasi-random sequence, of a finite space all of them."""
        alone = replace(self._arm, settings={}, repeats=({},))
        index = 0
        while alone.size is None or index < alone.size:
            yield alone.settings_at([index])[0]
            index += 1


class _Parameter:
    """A dimension as the model has it: its place on its scale, the number of a choice in order, or a choice."""

    def __init__(self, dimension: Dimension) -> None:
        self._dimension = dimension
        self._values: list[Value] = []
        if isinstance(dimension, Choice):
            self._values = sorted(dimension.values) if dimension.is_ordered else list(dimension.values)

    def distribution(self) -> BaseDistribution:
        """Optuna's."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        each = self._dimension
        if isinstance(each, Float):
            return FloatDistribution(0.0, 1.0)
        if isinstance(each, Choice):
            last = len(self._values) - 1
            return IntDistribution(0, last) if each.is_ordered else CategoricalDistribution(range(last + 1))
        return IntDistribution(each.low, each.high, log=each.scale == "log")

    def place(self, value: Value) -> Any:
        """Of a value in the range."""
        each = self._dimension
        if isinstance(each, Float):
            return min(max(each.position(value), 0.0), 1.0)
        if isinstance(each, Choice):
            return [identity(other) for other in self._values].index(identity(value))
        return int(value)

    def value(self, place: Any) -> Value:
        """The value at a place."""
        each = self._dimension
        if isinstance(each, Float):
            return each.at(float(place))
        return self._values[place] if isinstance(each, Choice) else int(place)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna announces its study, says that greenlet is no part of it, and divides by 0 where all is converged."""
    from optuna import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            yield
    finally:
        logging.set_verbosity(verbosity)
