"""Settings that were run more than once, as they are drawn: their mean, and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np

from playbook.analysis.repeats import trained_settings
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
    found = []
    for each in trained_settings(tables):
        if len(each.trials) > 1:
            with np.errstate(over="ignore"):
                se = float(np.std(each.losses, ddof=1)) / sqrt(len(each.trials))
            found.append(Repeated(each.arm, each.trial, each.trials, each.loss * tables.sign, se))
    return tuple(each for each in found if isfinite(each.se))
