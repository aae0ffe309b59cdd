"""Whether `importance` finds what matters in full tables of networks, and nothing that does not.

The truth is the share of the variance of one seed's ranks, over all settings, that the means of a hyperparameter's
values have. A made-up hyperparameter, which no network ever saw, has none.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import rankdata

from playbook.analysis.rules.importance import Importance, importance
from playbook.study.design import ONLY_ARM
from playbook.study.space import Choice, Dimension, Float
from truth.claim import Claim, mean
from truth.full_tables import ALL, draw, full_table

NOTHING: dict[str, Dimension] = {"nothing": Float(0, 1), "no_name": Choice(("a", "b", "c"))}
MATTERS = 0.1
SECONDARY = 0.05


@lru_cache(maxsize=len(ALL))
def shares(family: str, name: str) -> dict[str, float]:
    """What each hyperparameter of a table explains of the order of all its settings."""
    table = full_table(family, name)
    ranks = rankdata(table.loss[:, 0]).reshape(table.shape)
    others = [tuple(axis for axis in range(ranks.ndim) if axis != place) for place in range(ranks.ndim)]
    means = [ranks.mean(axis=axes) for axes in others]
    return {key: float(each.var() / ranks.var()) for key, each in zip(table.space, means, strict=True)}


def of_a_study(rng: np.random.Generator, num_trials: int) -> tuple[dict[str, Importance], dict[str, float]]:
    """What was found of each hyperparameter, and its true share."""
    family, name = ALL[int(rng.integers(len(ALL)))]
    drawn = draw(rng, full_table(family, name), num_trials, NOTHING)
    return {each.key: each for each in importance(drawn.tables, ONLY_ARM)}, shares(family, name)


def found(rng: np.random.Generator) -> Any:
    """Whether all that have a tenth or more were found, of 200 trials."""
    said, known = of_a_study(rng, 200)
    return all(said[key].certain for key, share in known.items() if share >= MATTERS)


def null(num_trials: int):  # type: ignore[no-untyped-def]
    """A draw of whether the made-up hyperparameters were found."""
    return lambda rng: any(each.certain for key, each in of_a_study(rng, num_trials)[0].items() if key in NOTHING)


def inflation(rng: np.random.Generator) -> Any:
    """The share of a secondary hyperparameter that 16 to 50 trials found, less its true one; None where none was."""
    said, known = of_a_study(rng, int(rng.integers(16, 51)))
    small = [said[key].share - share for key, share in known.items() if share < SECONDARY and said[key].certain]
    return float(np.mean(small)) if small else None


CLAIMS = [
    Claim("importance: found", "true share ≥ 0.1, real tables, 200 trials", found, at_least=0.8),
    Claim("importance: found", "does nothing, real tables, 200 trials", null(200), at_most=0.05),
    Claim("importance: found", "does nothing, real tables, 32 trials", null(32), at_most=0.05),
    Claim(
        "importance: share less the true one",
        "found, true share < 0.05, 16 to 50 trials",
        inflation,
        at_most=0.1,
        studies=400,
        summary=mean,
    ),
]
