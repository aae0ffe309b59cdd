"""The standard error of a share of n examples, such as an error or an accuracy."""

from __future__ import annotations

import math

import polars as pl

_SAME = 0.02
"""Relative distance up to which a standard error is that of a share: n in the place of n − 1, four digits in a file."""


def of_share(share: float, n_examples: int) -> float:
    """√(p(1 − p)/n), in [0, 1] as p is."""
    return math.sqrt(share * (1 - share) / n_examples)


def adjusted(objective: float, se: float, n_examples: int | None) -> float:
    """A standard error of the objective for verdicts: the recorded one, but of a share that of two successes and two
    failures more (Agresti and Coull 1998).

    Of no miss in n examples the recorded one is 0, as if the next n could not have one. The objective is taken for a
    share where the recorded error is that of one.
    """
    if n_examples is None or not 0 <= objective <= 1:
        return se
    plain = of_share(objective, n_examples)
    if abs(se - plain) > _SAME * plain + plain / n_examples:
        return se
    return of_share((objective * n_examples + 2) / (n_examples + 4), n_examples + 4)


def adjusted_errors(trials: pl.DataFrame) -> pl.Series:
    """`adjusted` of each row of `Tables.trials`; null where nothing is known."""
    rows = trials.select(
        *(pl.col(name) if name in trials.columns else pl.lit(None).alias(name) for name in _COLUMNS)
    ).iter_rows()
    return pl.Series(
        "objective_se",
        [None if value is None or se is None else adjusted(value, se, n) for value, se, n in rows],
        dtype=pl.Float64(),
    )


_COLUMNS = ("objective", "objective_se", "n_examples")
