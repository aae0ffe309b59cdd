"""The standard error of a share of n examples, such as an error or an accuracy."""

from __future__ import annotations

import math


def of_share(share: float, n_examples: int) -> float:
    """√(p(1 − p)/n), in [0, 1] as p is."""
    return math.sqrt(share * (1 - share) / n_examples)


def adjusted_of_share(share: float, n_examples: int) -> float:
    """The same for verdicts, with two successes and two failures more (Agresti and Coull 1998).

    Of no miss in n examples the plain one is 0, as if the next n could not have one.
    """
    return of_share((share * n_examples + 2) / (n_examples + 4), n_examples + 4)
