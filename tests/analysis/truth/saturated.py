"""`saturated` and `still_improving`: plateaus, and curves that gain more under noise; and no two things at once."""

from functools import partial

import numpy as np
import polars as pl

from playbook.analysis.rules import find_all
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import ONLY_ARM, Objective
from truth.claim import Claim
from truth.drawn_examples import Scenario, study

CONTRADICTORY = (
    ({"overfitting", "still_improving", "best_step_late"}, {"saturated", "best_step_early"}),
    ({"overfitting"}, {"still_improving", "best_step_late"}),
)


def gaining(more: float, noise: float, evaluations: int, rng: np.random.Generator) -> Tables:
    """Sixteen curves that gain 1, and `more` of it in the last six tenths, with heavy-tailed noise around them."""
    x = np.linspace(0, 1, evaluations)
    course = np.exp(-x / 0.08) + more * (1 - np.clip((x - 0.4) / 0.6, 0, 1))
    values = rng.uniform(0.2, 1) + course + noise * rng.standard_t(5, (16, evaluations)) * np.sqrt(3 / 5)
    values += rng.exponential(0.2, (16, 1))
    trials = pl.DataFrame(
        {"trial": range(16), "arm": ONLY_ARM, "status": "complete", "objective": values.min(axis=1)},
        schema_overrides={"trial": pl.Int64()},
    )
    curves = pl.DataFrame(
        {
            "trial": np.repeat(np.arange(16), evaluations),
            "step": np.tile(np.arange(evaluations) * 50, 16),
            "metric": "val/error",
            "value": values.ravel(),
        }
    ).cast(dict(CURVE_COLUMNS))
    return Tables(trials, Objective("val/error"), curves, max_steps=50 * (evaluations - 1))


def flat(more: float, noise: float, evaluations: int, rng: np.random.Generator) -> bool:
    """Whether the report calls such curves flat."""
    return "saturated" in {found.code for found in find_all(gaining(more, noise, evaluations, rng))}


def contradicts(rng: np.random.Generator) -> bool:
    """Whether the report of any study contradicts itself."""
    scenario = Scenario(
        int(rng.choice([100, 359, 2000])),
        trials=int(rng.choice([4, 16, 40])),
        evaluations=int(rng.choice([10, 20, 60])),
        correlation=float(rng.choice([0.0, 0.9, 0.97])),
        learnt_by=float(rng.uniform(0.02, 0.5)),
        overfits=float(rng.choice([0.0, 1.0, 3.0])),
    )
    codes = {found.code for found in find_all(study(rng, scenario, recorded=bool(rng.random() < 0.5)))}
    return any(codes & one and codes & other for one, other in CONTRADICTORY)


CLAIMS = [
    *(
        Claim(
            "saturated",
            f"gains 10 % more, noise twice that, {evaluations} evaluations",
            partial(flat, 0.1, 0.2, evaluations),
            at_most=0.05,
        )
        for evaluations in (20, 100)
    ),
    Claim("saturated", "gains 10 % more, noise a quarter of that", partial(flat, 0.1, 0.025, 40), at_most=0.05),
    Claim("saturated", "gains nothing more, noise 1 % of the gain", partial(flat, 0.0, 0.01, 40), at_least=0.8),
    Claim("any two that contradict each other", "many kinds of studies", contradicts, at_most=0.0),
]
