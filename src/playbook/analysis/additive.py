"""A joint additive model: a curve in each hyperparameter, all at once, and what each explains beside the others.

Fitted one at a time, every hyperparameter has the effects of all others as noise. Fitted together it has only what
they leave: of 200 trials in which one of nine explains a tenth, it is found in nearly all studies instead of in some.

All that is computed is a Gram matrix, so a bootstrap of thousands of trials is a sum of few matrices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.position import positions
from playbook.analysis.regret import Values
from playbook.study.space import Choice, Dimension
from playbook.validation import show

RIDGE = 1e-9
"""Of the diagonal: columns that say the same are then no division by zero."""
TIED = 0.9
"""Curves that correlate so much cannot be told apart, and are not fitted beside each other."""


@dataclass(frozen=True)
class Curves:
    """The columns of each hyperparameter: `columns` (trials, degrees), each of mean 0 and mean square 1, orthogonal."""

    columns: Mapping[str, Values]

    @property
    def degrees(self) -> dict[str, int]:
        """Of freedom, of each hyperparameter."""
        return {key: each.shape[1] for key, each in self.columns.items()}


def curves(trials: pl.DataFrame, space: Mapping[str, Dimension], degree: int, trials_a_value: int = 3) -> Curves:
    """Polynomials of at most `degree` in the position of an ordered dimension, the means of an unordered one's values.

    A hyperparameter that exists only in some trials (the column is null in the others) has its curve among these, and
    is 0 elsewhere; whether it exists is a column of its own, unless another hyperparameter decides that. One says
    nothing, and is left out, where it has one value, or unordered values with fewer than `trials_a_value` trials each.
    """
    found = {}
    for key, dimension in space.items():
        raw, here = _raw(trials[key], dimension, degree, trials_a_value)
        if raw is None:
            continue
        columns = np.zeros((len(trials), raw.shape[1]))
        columns[here] = raw - raw.mean(axis=0)
        others = {other: each for other, each in space.items() if other != key and not each.is_ordered}
        if not here.all() and not any(_decides(trials[other], here) for other in others):
            columns = np.column_stack([columns, here - here.mean()])
        basis, triangle = np.linalg.qr(columns)
        size = np.abs(np.diag(triangle))
        kept = basis[:, size > 1e-9 * size.max()]
        if kept.shape[1]:
            found[key] = kept * np.sqrt(len(trials))
    return Curves(found)


def _raw(
    column: pl.Series, dimension: Dimension, degree: int, trials_a_value: int
) -> tuple[Values | None, NDArray[np.bool_]]:
    """The columns among the trials that have the hyperparameter, not yet centred, and which these are."""
    if dimension.is_ordered:
        where = positions(column, dimension)
        here = np.isfinite(where)
        distinct = len(np.unique(where[here]))
        if distinct < 2:
            return None, here
        powers = np.polynomial.legendre.legvander(2 * where[here] - 1, min(distinct - 1, degree))
        return np.asarray(powers[:, 1:], dtype=np.float64), here
    may_be_null = isinstance(dimension, Choice) and any(value is None for value in dimension.values)
    here = np.ones(len(column), bool) if may_be_null else column.is_not_null().to_numpy()
    names = [show(value) for value, is_here in zip(column.to_list(), here, strict=True) if is_here]
    values = sorted(set(names))
    if len(values) < 2 or len(names) < trials_a_value * len(values):
        return None, here
    return np.array([[float(name == value) for value in values[1:]] for name in names]), here


def _decides(other: pl.Series, here: NDArray[np.bool_]) -> bool:
    """Whether each value of another hyperparameter has trials of one kind only."""
    by_value: dict[str, set[bool]] = {}
    for value, is_here in zip(other.to_list(), here, strict=True):
        by_value.setdefault(show(value), set()).add(bool(is_here))
    return all(len(kinds) == 1 for kinds in by_value.values())


class Additive:
    """The model of a response, any number a trial (trials,), in some curves."""

    def __init__(self, response: Values, given: Curves) -> None:
        self.keys = tuple(given.columns)
        self.num_trials = len(response)
        ends = np.cumsum([1, *given.degrees.values()])
        self._places = {key: np.arange(ends[i], ends[i + 1]) for i, key in enumerate(self.keys)}
        self._table = np.column_stack([np.ones(self.num_trials), *given.columns.values(), response])
        self._gram = self._table.T @ self._table

    def degrees(self, keys: Iterable[str]) -> int:
        """Of freedom, of some hyperparameters together."""
        return sum(len(self._places[key]) for key in keys)

    def left(self, keys: Iterable[str], grams: Values | None = None) -> Values:
        """The sum of squares that the curves in some hyperparameters leave of the response; one a Gram matrix."""
        grams = self._gram if grams is None else grams
        chosen = np.concatenate([[0], *(self._places[key] for key in keys)]).astype(int)
        inner = grams[..., chosen[:, None], chosen]
        diagonal = np.einsum("...ii->...i", inner)
        inner = inner + RIDGE * (diagonal + np.finfo(float).tiny)[..., None] * np.eye(len(chosen))
        cross = grams[..., chosen, -1:]
        explained = (cross * np.linalg.solve(inner, cross)).sum(axis=(-2, -1))
        return np.asarray(np.maximum(grams[..., -1, -1] - explained, 0.0))

    def bootstrap(self, draws: int, groups: int) -> Values:
        """Gram matrices (draws, …) of trials drawn with replacement, or of so many groups where there are more."""
        rng = np.random.default_rng(0)
        parts = np.array_split(rng.permutation(self.num_trials), min(groups, self.num_trials))
        grams = np.stack([self._table[part].T @ self._table[part] for part in parts])
        counts = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=draws)
        return np.tensordot(counts.astype(np.float64), grams, axes=1)

    def tied(self, key: str) -> set[str]:
        """The other hyperparameters that cannot be told apart from one."""
        here = self._places[key]
        return {
            other
            for other in self.keys
            if other != key and np.abs(self._gram[np.ix_(here, self._places[other])]).max() > TIED * self.num_trials
        }
