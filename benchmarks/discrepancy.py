"""How evenly our sequence covers a space, beside scipy's scrambled Halton, scipy's Sobol' and random points (E3).

    OMP_NUM_THREADS=1 python benchmarks/discrepancy.py [--seeds 1000]

Centred L2 discrepancy (smaller is more even), as means over seeds 0, 1, …; a ratio is of two means, with its standard
error over seeds. Accepted: at most 1.03 times scipy's scrambled Halton, and less than half of random's where so few
points can be even at all, that is up to ten dimensions. Their numbers are powers of two, at which Sobol' is at its
best.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from playbook.study.halton import points

Draw = Callable[[int, int, int], NDArray[np.float64]]

AT_MOST_OF_HALTON = 1.03
AT_MOST_OF_RANDOM = 0.5


@dataclass(frozen=True)
class Size:
    """`count` points in `dimensions`."""

    dimensions: int
    count: int
    beats_random: bool = True


SIZES = (Size(2, 16), Size(5, 64), Size(10, 64), Size(20, 64, beats_random=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="The balance properties of Sobol'")
    print(f"centred discrepancy, mean over {arguments.seeds} seeds")
    print(f"{'dimensions × points':>20} {'ours':>9} {'× halton':>17} {'× sobol':>17} {'× random':>17}")
    for size in SIZES:
        compare(size, arguments.seeds)


def compare(size: Size, num_seeds: int) -> None:
    drawn = {name: discrepancies(draw, size, num_seeds) for name, draw in DRAWS.items()}
    ratios = {name: Ratio.of(drawn["ours"], drawn[name]) for name in ("halton", "sobol", "random")}
    accepted = ratios["halton"].value <= AT_MOST_OF_HALTON
    accepted &= ratios["random"].value < AT_MOST_OF_RANDOM or not size.beats_random
    columns = " ".join(f"{ratio.value:9.4f} ± {ratio.standard_error:.4f}" for ratio in ratios.values())
    name = f"{size.dimensions} × {size.count}"
    print(f"{name:>20} {drawn['ours'].mean():9.5f} {columns}   {'accepted' if accepted else 'NOT accepted'}")


@dataclass(frozen=True)
class Ratio:
    value: float
    standard_error: float

    @classmethod
    def of(cls, above: NDArray[np.float64], below: NDArray[np.float64]) -> Ratio:
        """Of the means of two independent samples."""
        value = float(above.mean() / below.mean())
        relative = [sample.var(ddof=1) / len(sample) / sample.mean() ** 2 for sample in (above, below)]
        return cls(value, value * float(np.sqrt(sum(relative))))


def discrepancies(draw: Draw, size: Size, num_seeds: int) -> NDArray[np.float64]:
    """One for each seed."""
    samples = (draw(seed, size.count, size.dimensions) for seed in range(num_seeds))
    return np.array([qmc.discrepancy(sample, method="CD") for sample in samples])


DRAWS: dict[str, Draw] = {
    "ours": lambda seed, count, dimensions: points(seed, np.arange(count), dimensions),
    "halton": lambda seed, count, dimensions: qmc.Halton(dimensions, scramble=True, rng=seed).random(count),
    "sobol": lambda seed, count, dimensions: qmc.Sobol(dimensions, scramble=True, rng=seed).random(count),
    "random": lambda seed, count, dimensions: np.random.default_rng(seed).random((count, dimensions)),
}


if __name__ == "__main__":
    main()
