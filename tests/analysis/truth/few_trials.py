"""Whether `few_trials` knows what doubling the trials would bring, on full tables of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from synthetic_tables import study

from playbook.analysis.rules.few_trials import Sampling, find, sampling
from playbook.study.design import ONLY_ARM
from playbook.study.space import Float
from truth.claim import Claim, auc
from truth.full_tables import ALL, Drawn, draw, full_table

AGAIN = 60
"""Times that as many trials again are drawn, for the true gain of doubling."""
WORTH = 0.5
"""Of the deviation of seeds among good settings."""


def true_gain(rng: np.random.Generator, drawn: Drawn) -> float:
    """What the true loss of the best setting falls by with as many trials again, in deviations of the seed."""
    table, count = drawn.table, len(drawn.settings)
    value, true = table.scaled, table.scaled.mean(axis=1)
    seen = drawn.tables.trials["objective"].to_numpy()
    seen = np.log(seen) if table.logarithmic else seen
    now = true[drawn.settings[np.argmin(seen)]]
    more = rng.integers(len(true), size=(AGAIN, count))
    observed = value[more, rng.integers(value.shape[1], size=more.shape)]
    best = observed.argmin(axis=1)
    rows = np.arange(AGAIN)
    then = np.where(observed[rows, best] < seen.min(), true[more[rows, best]], now)
    return float(now - then.mean()) / table.seed_sd


def of_a_study(rng: np.random.Generator) -> tuple[Sampling, float]:
    """What is said of a study of 16 to 128 trials, and the true gain."""
    family, name = ALL[int(rng.integers(len(ALL)))]
    drawn = draw(rng, full_table(family, name), int(2 ** rng.uniform(4, 7)))
    return sampling(drawn.tables, ONLY_ARM), true_gain(rng, drawn)


def score(rng: np.random.Generator) -> Any:
    """The probability of a worthwhile gain, and whether there was one, whatever the verdict."""
    said, gain = of_a_study(rng)
    return 0.0 if np.isnan(said.likely) else said.likely, gain > WORTH


def told(rng: np.random.Generator) -> Any:
    """Whether trials are said to be few, though nothing but the surface says what the noise is."""
    return of_a_study(rng)[0].verdict in ("few", "far too few")


def wrongly_equal(rng: np.random.Generator) -> Any:
    """Of the studies whose settings are said not to differ, whether doubling was worth it."""
    said, gain = of_a_study(rng)
    return gain > WORTH if said.verdict == "equal" else None


def equal(num_trials: int):  # type: ignore[no-untyped-def]
    """A draw of what is said of settings that are all equal."""

    def drawn(rng: np.random.Generator) -> Any:
        space = {f"k{i}": Float(0, 1) for i in range(3)}
        tables = study(
            num_trials, space, lambda at: 10 + rng.standard_t(5, num_trials), seed=int(rng.integers(1 << 30))
        )
        return any(each.severity != "info" for each in find(tables))

    return drawn


CLAIMS = [
    Claim("few_trials: few", "real tables, one seed a setting: it cannot be told", told, at_most=0.05),
    Claim("few_trials: AUC of the forecast", "doubling gains 0.5 seed sd, real tables; only told", score, summary=auc),
    Claim("few_trials: doubling was worth it", "of those said to differ no more than seeds", wrongly_equal),
    Claim("few_trials: advice", "all settings equal, 16 trials", equal(16), at_most=0.05),
    Claim("few_trials: advice", "all settings equal, 64 trials", equal(64), at_most=0.05),
]
