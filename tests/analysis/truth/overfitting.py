"""`overfitting`: trials that converged and wander, and trials that overfit by as much as can be told."""

from functools import partial

import numpy as np

from playbook.analysis.rules import find_all
from truth.claim import Claim
from truth.drawn_examples import Scenario, study


def said(code: str, scenario: Scenario, recorded: bool, rng: np.random.Generator) -> bool:
    """Whether the report of a drawn study says it, in whatever severity."""
    return code in {found.code for found in find_all(study(rng, scenario, recorded=recorded))}


def both(one: str, other: str, scenario: Scenario, recorded: bool, rng: np.random.Generator) -> bool:
    """Whether it says two things at once."""
    return {one, other} <= {found.code for found in find_all(study(rng, scenario, recorded=recorded))}


SIZES = {359: 200, 2_000: 100, 10_000: 40}
"""Validation examples, and how many studies are drawn: those of 10,000 take half a second."""
CLAIMS = [
    claim
    for n, studies in SIZES.items()
    for recorded, words in ((False, "curves alone"), (True, "with records"))
    for claim in (
        Claim(
            "overfitting",
            f"converged, slow noise, {n} examples, {words}",
            partial(said, "overfitting", Scenario(n), recorded),
            at_most=0.05,
            studies=studies,
        ),
        Claim(
            "overfitting",
            f"overfitted by 3 standard errors, {n} examples, {words}",
            partial(said, "overfitting", Scenario(n, overfits=3.0), recorded),
            at_least=0.8,
            studies=studies,
        ),
    )
] + [
    Claim(
        "overfitting",
        "converged, half of the slow noise is common to all trials, 2000 examples, with records",
        partial(said, "overfitting", Scenario(2_000, in_common=0.5), True),
        at_most=0.05,
        studies=100,
    ),
    Claim(
        "overfitting",
        "converged, slow noise, a loss, 2000 examples, with records",
        partial(said, "overfitting", Scenario(2_000, losses=True), True),
        at_most=0.05,
        studies=100,
    ),
    Claim(
        "overfitting",
        "overfitted, four times as many trials, 359 examples, curves alone",
        partial(said, "overfitting", Scenario(359, trials=64, overfits=3.0), False),
        at_least=0.8,
        studies=40,
    ),
    *(
        Claim(
            "overfitting and saturated together",
            f"{words}, 359 examples, curves alone",
            partial(both, "overfitting", "saturated", scenario, False),
            at_most=0.0,
        )
        for words, scenario in (("overfitted", Scenario(359, overfits=3.0)), ("converged", Scenario(359)))
    ),
]
