"""Whether `insensitive` is said where nothing matters, and not where something does."""

from __future__ import annotations

import numpy as np
from synthetic_tables import study

from playbook.analysis.rules.insensitive import find
from playbook.study.space import Float
from truth.claim import Claim


def said(size: float, num_trials: int):  # type: ignore[no-untyped-def]
    """A draw of whether it is said where one of three hyperparameters moves the loss by `size` seed deviations.

    The seeds have heavy tails.
    """

    def drawn(rng: np.random.Generator) -> bool:
        space = {f"k{i}": Float(0, 1) for i in range(3)}
        tables = study(
            num_trials,
            space,
            lambda at: 10 + size * at["k0"] + rng.standard_t(5, num_trials) * 0.6**0.5,
            seed=int(rng.integers(1 << 30)),
        )
        return bool(find(tables))

    return drawn


CLAIMS = [
    Claim("insensitive", "nothing matters, 64 trials", said(0, 64), at_least=0.5),
    Claim("insensitive", "one moves the loss by 5 seed sd, 64 trials", said(5, 64), at_most=0.05),
    Claim("insensitive", "one moves the loss by 3 seed sd, 64 trials", said(3, 64), at_most=0.05),
]
