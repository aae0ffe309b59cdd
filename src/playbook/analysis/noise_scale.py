"""The gradient noise scale on the way to a target, from measurements in several runs (G4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.critical_batch_size import Interval

PARTS = 4
"""Of the way, in each of which variances and squared norms are added up: one measurement's ratio is too noisy."""
RESAMPLES = 400


@dataclass(frozen=True)
class NoiseMeasured:
    """One measurement in run `run`: tr Σ and |G|², after the share `progress` of its way to the target, 0 to 1."""

    run: int
    progress: float
    variance: float
    squared_norm: float


@dataclass(frozen=True)
class NoiseScale:
    """tr Σ / |G|² in examples: `scale` the mean over the way to the target, `parts` that of each of its parts."""

    scale: Interval
    parts: tuple[float, ...]


def noise_scale(measured: Sequence[NoiseMeasured]) -> NoiseScale | None:
    """The noise scale averaged over the steps to the target, which predicts the ratio of the fewest examples to the
    fewest steps (McCandlish et al. 2018, appendix D); None where a part has no measurement, or no signal.

    Within a part of the way variances and squared norms are added up before they are divided. The interval is the
    bootstrap's, of whole runs: 95 %.
    """
    if not measured:
        return None
    runs = sorted({each.run for each in measured})
    sums = np.zeros((len(runs), PARTS, 2))
    for each in measured:
        part = min(int(each.progress * PARTS), PARTS - 1)
        sums[runs.index(each.run), part] += (each.variance, each.squared_norm)
    parts = _ratios(sums.sum(axis=0))
    if parts is None:
        return None
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(runs), size=(RESAMPLES, len(runs)))
    again = [_ratios(sums[chosen].sum(axis=0)) for chosen in drawn]
    means = [np.inf if each is None else each.mean() for each in again]
    low, high = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    value = float(parts.mean())
    return NoiseScale(Interval(value, min(float(low), value), max(float(high), value)), tuple(map(float, parts)))


def _ratios(sums: NDArray[np.float64]) -> NDArray[np.float64] | None:
    return sums[:, 0] / sums[:, 1] if (sums[:, 1] > 0).all() else None
