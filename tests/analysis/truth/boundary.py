"""Whether `space_boundary` is said where the objective improves to the edge, and not on a plateau.

Seeds have heavy tails (Student's t with four degrees of freedom), other hyperparameters have valleys of their own, and
the improvement bends one way or the other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from synthetic_tables import study

from playbook.analysis.finding import Finding
from playbook.analysis.rules import boundary
from playbook.analysis.tables import Tables
from playbook.study.space import Float
from truth.claim import Claim

Values = NDArray[np.float64]
LR = Float(1e-4, 1e-1, "log")


def surface(
    rng: np.random.Generator, num_trials: int, of_lr: Callable[[Values], Values], others: int, size: float = 10.0
) -> Tables:
    """A study whose loss is `of_lr` of the position of lr, in seed standard deviations, with valleys beside it."""
    space = {"lr": LR, **{f"k{i}": Float(1.0, 2.0) for i in range(others)}}
    middle, weight = rng.uniform(0.3, 0.7, others), rng.uniform(0, size, others)

    def loss(at: dict[str, Values]) -> Values:
        valleys = sum(4 * weight[i] * (at[f"k{i}"] - middle[i]) ** 2 for i in range(others))
        return 100 + of_lr(at["lr"]) + valleys + rng.standard_t(4, num_trials) / np.sqrt(2)

    return study(num_trials, space, loss, seed=int(rng.integers(1 << 30)))  # type: ignore[arg-type]


def improves(rng: np.random.Generator, num_trials: int) -> list[Finding]:
    """By 10 seed standard deviations, all the way to the upper edge; of this edge what was said."""
    bend = rng.uniform(0.75, 1.25)
    tables = surface(rng, num_trials, lambda u: 10 * (1 - u) ** bend, int(rng.integers(0, 4)))
    return [each for each in boundary.find(tables) if (each.parameter, each.evidence["end"]) == ("lr", "upper")]


def plateau(rng: np.random.Generator, num_trials: int) -> list[Finding]:
    """Flat from somewhere to the upper edge (from the lower one in one study of four), below it steeper or less."""
    knee = rng.uniform(0.3, 0.8) if rng.random() < 0.75 else 0.0
    height = rng.uniform(2, 40)
    tables = surface(rng, num_trials, lambda u: height * np.maximum(knee - u, 0), int(rng.integers(0, 4)))
    return [each for each in boundary.find(tables) if each.parameter == "lr"]


def inside(rng: np.random.Generator, num_trials: int) -> list[Finding]:
    """A valley whose lowest point lies a quarter of the range inside, or further."""
    at, height = rng.uniform(0.25, 0.75), rng.uniform(5, 100)
    shape = [lambda d: 4 * d**2, lambda d: 2 * np.abs(d), lambda d: np.tanh(3 * np.abs(d)) ** 2][rng.integers(3)]
    tables = surface(rng, num_trials, lambda u: height * shape(u - at), int(rng.integers(0, 4)))
    return [each for each in boundary.find(tables) if each.parameter == "lr"]


def said(
    of: Callable[[np.random.Generator, int], list[Finding]], num_trials: int, *severities: str
) -> Callable[[np.random.Generator], bool]:
    """A draw of whether any such was said."""
    return lambda rng: any(each.severity in severities for each in of(rng, num_trials))


CLAIMS = [
    Claim(
        "space_boundary: problem",
        "improves to the edge by 10 seed sd, 200 trials",
        said(improves, 200, "problem"),
        at_least=0.85,
    ),
    Claim(
        "space_boundary: problem or advice",
        "improves to the edge by 10 seed sd, 40 trials",
        said(improves, 40, "problem", "advice"),
    ),
    Claim("space_boundary: problem", "a plateau, 200 trials", said(plateau, 200, "problem"), at_most=0.01),
    Claim("space_boundary: advice", "a plateau, 200 trials", said(plateau, 200, "advice"), at_most=0.05),
    Claim("space_boundary: problem", "a plateau, 40 trials", said(plateau, 40, "problem"), at_most=0.01),
    Claim("space_boundary: advice", "a plateau, 40 trials", said(plateau, 40, "advice"), at_most=0.05),
    Claim("space_boundary: problem", "a valley inside, 60 trials", said(inside, 60, "problem"), at_most=0.02),
    Claim("space_boundary: advice", "a valley inside, 60 trials", said(inside, 60, "advice"), at_most=0.05),
]
