"""Settings and seeds of the full tables of `full_tables.py`, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from playbook.study.space import Choice, Dimension
from truth.full_tables import NAMES, full_table

Values = NDArray[np.float64]
FCNET, HPOBENCH = NAMES["hpolib"], NAMES["hpobench"]


@dataclass(frozen=True)
class Network:
    """A table: `values` (settings, seeds) of the objective, less is better; `levels` (settings, hyperparameters)."""

    values: Values
    levels: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def space(self) -> dict[str, Dimension]:
        """Each hyperparameter as a list of levels."""
        return {
            name: Choice(tuple(range(int(self.levels[:, place].max()) + 1))) for place, name in enumerate(self.names)
        }

    def draw(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Different settings, at random."""
        return rng.choice(len(self.values), count, replace=False)

    def columns(self, settings: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """The hyperparameters of some settings."""
        return {name: self.levels[settings, place] for place, name in enumerate(self.names)}

    def objective(self, rng: np.random.Generator, settings: NDArray[np.int64]) -> Values:
        """The objective of some settings, each with a seed."""
        return self.values[settings, rng.integers(self.values.shape[1], size=len(settings))]


def network(rng: np.random.Generator) -> Network:
    """One of the tables, at random: of one half of the FCNet ones, of the other half of HPOBench's."""
    return table(str(rng.choice(FCNET if rng.random() < 0.5 else HPOBENCH)))


@lru_cache(maxsize=12)
def table(name: str) -> Network:
    """A table by its name."""
    full = full_table("hpolib" if name in FCNET else "hpobench", name)
    levels = np.indices(full.shape).reshape(len(full.shape), -1).T
    return Network(full.loss, levels, tuple(full.space))
