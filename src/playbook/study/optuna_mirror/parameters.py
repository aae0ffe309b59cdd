"""Hyperparameters as Optuna knows them: one name and one distribution each.

- One that exists in some arms only has their condition in its name, `lr [optimizer=adam]`, since the same key under
  another optimizer is another hyperparameter (B3).
- One on a `log_one_minus` scale is `1 - <key>` on a log scale: the scale that it is even on, which Optuna's plots,
  importances and samplers then work on too.
- Settings that repeat a trial (seeds) are none: nobody searches them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from playbook.study.design import Design, Trial
from playbook.study.space import Choice, Dimension, Float, Value
from playbook.validation import show

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Parameter:
    """What Optuna knows a hyperparameter of an arm as."""

    key: str
    dimension: Dimension
    condition: Mapping[str, tuple[Value, ...]]

    @property
    def name(self) -> str:
        """The config key; `1 - key` where its scale asks for it; with its condition where it has one."""
        name = f"1 - {self.key}" if self._from_one else self.key
        if not self.condition:
            return name
        words = [f"{key}={'|'.join(map(show, values))}" for key, values in self.condition.items()]
        return f"{name} [{', '.join(words)}]"

    @cached_property
    def distribution(self) -> BaseDistribution:
        """Where Optuna takes it to have been drawn from."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        each = self.dimension
        if isinstance(each, Choice):
            return CategoricalDistribution([self.value(value) for value in each.values])
        if isinstance(each, Float):
            low, high = sorted((self.value(each.low), self.value(each.high)))
            return FloatDistribution(low, high, log=each.scale != "linear")
        return IntDistribution(each.low, each.high, log=each.scale == "log")

    def value(self, value: Value) -> Any:
        """A value as Optuna can hold it."""
        if isinstance(self.dimension, Choice):
            return json.dumps(value) if self._as_text else value
        if self._from_one:
            return float(f"{1 - value:.12g}")  # 0.1 rather than 0.09999999999999998
        return value

    def stored(self, value: Value) -> float:
        """A value as Optuna's tables have it: of a choice its place."""
        if isinstance(self.dimension, Choice):
            return float([self.value(each) for each in self.dimension.values].index(self.value(value)))
        return float(self.value(value))

    @property
    def _from_one(self) -> bool:
        return isinstance(self.dimension, Float) and self.dimension.scale == "log_one_minus"

    @cached_property
    def _as_text(self) -> bool:
        """Optuna's choices are scalars, and it takes 1 for true and 1.0."""
        assert isinstance(self.dimension, Choice)
        values = self.dimension.values
        if not all(value is None or isinstance(value, bool | int | float | str) for value in values):
            return True
        return len(set(values)) < len(values)


def parameters(design: Design, trial: Trial) -> dict[str, Parameter]:
    """Each hyperparameter that is searched in the arm of a trial, by its config key."""
    conditions: dict[str, Mapping[str, tuple[Value, ...]]] = {}
    for each in design.conditional:
        if each.holds(trial.settings):
            conditions |= dict.fromkeys(each.space, each.when)
    if name := design.case_of(trial.arm):
        conditions |= {key: {"case": (name,)} for key in design.cases[name].space}
    space = design.space_of(trial.arm)
    return {key: Parameter(key, space[key], conditions.get(key, {})) for key in space if design.role(key) != "repeat"}
