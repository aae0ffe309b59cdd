"""Throughput over batch sizes: the smallest size that is as fast as any, and what bounds it (A4).

Each size is measured in several passes over all sizes, so that a machine that becomes slower does so for all. What is
left of the logarithm of a step's seconds when the effects of its size and of its pass are taken away is the noise,
which is taken to be the same for all sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Ended = Literal["saturated", "memory", "data", "asked"]
Part = Literal["compute", "input", "memory", "fixed cost", "synchronisation"]


@dataclass(frozen=True)
class Thresholds:
    """What the answer depends on."""

    nearly_double: float = 1.8
    """The throughput of twice the batch over that of the batch, from which on it nearly doubles."""
    bounds: float = 0.5
    """The share of a step from which on a part bounds the throughput: without it a step would take half as long."""
    worth_saying: float = 0.1
    """The share of a step from which on waiting for data is mentioned: ten per cent are there to be had."""
    widest: float = 4.0
    """The largest size that may be the smallest fast one over the smallest, above which the passes do not tell."""
    confidence: float = 0.95
    stops_growing: float = 0.05
    """A throughput that beats the best so far by less has not grown; two sizes in a row end the search."""


@dataclass(frozen=True)
class Pass:
    """A batch size in one pass: seconds of a step, and of waiting for data in it, a pair a block of steps.

    `alone` are the seconds of a step of one device with its share of the batch, where several share it.
    """

    seconds: tuple[float, ...]
    waits: tuple[float, ...]
    alone: tuple[float, ...] = ()


@dataclass(frozen=True)
class Size:
    """A batch size that fits, with its passes; `peak_bytes` where it is known."""

    batch_size: int
    passes: tuple[Pass, ...]
    peak_bytes: int | None = None

    @property
    def step_seconds(self) -> float:
        """The median over blocks."""
        return float(np.median(_all(self.passes)))

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the seconds of a step, over blocks."""
        low, high = np.quantile(_all(self.passes), [0.25, 0.75])
        return float(low), float(high)

    @property
    def throughput(self) -> float:
        """Examples a second."""
        return self.batch_size / self.step_seconds

    @property
    def wait_seconds(self) -> float:
        """Of a step, waiting for data: the median over blocks."""
        return float(np.median(np.concatenate([each.waits for each in self.passes])))

    @property
    def sync_seconds(self) -> float:
        """Of a step, what it takes longer than that of one device with its share; 0 of one device."""
        alone = [value for each in self.passes for value in each.alone]
        return max(0.0, self.step_seconds - float(np.median(alone))) if alone else 0.0


@dataclass(frozen=True)
class Noise:
    """The standard deviation of the logarithm of one size's median in one pass, and its degrees of freedom."""

    sd: float
    degrees: int


@dataclass(frozen=True)
class Ratio:
    """A ratio of throughputs with its interval over passes; of one pass it is unbounded."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Parts:
    """What a step's seconds go to: `fixed` is what a step costs however small its batch."""

    input: float
    synchronisation: float
    fixed: float
    compute: float

    @property
    def total(self) -> float:
        return self.input + self.synchronisation + self.fixed + self.compute


@dataclass(frozen=True)
class Doubling:
    """From a size to the next: how the throughput grew, and what most of the added time is."""

    batch_size: int
    gain: Ratio
    adds: Literal["input", "synchronisation", "compute"]


@dataclass(frozen=True)
class Scaling:
    """The answer: `knee` is the smallest size within the tolerance of the fastest, in `knee_range` with confidence.

    `told` says whether the passes agree well enough; `bound_by` what bounds the throughput there, `parts` each size's
    step, `doublings` what doubling brought, of which `short` are those below the knee that surely do not nearly double.
    """

    knee: Size
    knee_range: tuple[int, int]
    told: bool
    bound_by: Part
    parts: dict[int, Parts]
    doublings: tuple[Doubling, ...]
    short: tuple[Doubling, ...]


def has_stopped_growing(throughputs: Sequence[float], limits: Thresholds = Thresholds()) -> bool:
    """Whether the last two sizes of growing ones brought nothing."""
    if len(throughputs) < 3:
        return False
    best = max(throughputs[:-2])
    return max(throughputs[-2:]) < best * (1 + limits.stops_growing)


def scaling(sizes: Sequence[Size], ended: Ended, within: float, limits: Thresholds = Thresholds()) -> Scaling:
    """What the sizes, from the smallest, say; the search for larger ones `ended` so.

    `within` is the share of the largest throughput that may be given away for a smaller batch.
    """
    fastest = max(sizes, key=lambda size: size.throughput)
    noise = noise_of(sizes)
    to_fastest = [throughput_ratio(size, fastest, noise, limits) for size in sizes]
    enough = 1 - within
    knee = next(size for size, ratio in zip(sizes, to_fastest, strict=True) if ratio.value >= enough)
    low = next(size for size, ratio in zip(sizes, to_fastest, strict=True) if ratio.high >= enough)
    high = next(size for size, ratio in zip(sizes, to_fastest, strict=True) if ratio.low >= enough)
    parts = parts_of(sizes)
    doublings = tuple(_doubling(one, two, noise, limits) for one, two in pairwise(sizes))
    short = tuple(
        each for each in doublings if each.batch_size < knee.batch_size and each.gain.high < limits.nearly_double
    )
    return Scaling(
        knee,
        (low.batch_size, high.batch_size),
        high.batch_size <= limits.widest * low.batch_size,
        _bound(sizes, knee, parts, doublings, ended, within, limits),
        parts,
        doublings,
        short,
    )


def noise_of(sizes: Sequence[Size]) -> Noise:
    """From what is left of sizes and passes, a two-way layout."""
    num_passes = min(len(size.passes) for size in sizes)
    logs = np.stack([_logs(size)[:num_passes] for size in sizes])
    left = logs - logs.mean(0) - logs.mean(1, keepdims=True) + logs.mean()
    degrees = (len(sizes) - 1) * (num_passes - 1)
    return Noise(math.sqrt(float((left**2).sum()) / degrees) if degrees else math.inf, degrees)


def throughput_ratio(one: Size, other: Size, noise: Noise, limits: Thresholds = Thresholds()) -> Ratio:
    """The throughput of one over that of another, of the passes that have both: the mean logarithm, Student's t."""
    if one is other:
        return Ratio(1.0, 1.0, 1.0)
    number = min(len(one.passes), len(other.passes))
    mean = float((_logs(other)[:number] - _logs(one)[:number]).mean()) + math.log(one.batch_size / other.batch_size)
    if not noise.degrees:
        return Ratio(math.exp(mean), 0.0, math.inf)
    from scipy.stats import t  # half a second of imports

    half = float(t.ppf((1 + limits.confidence) / 2, noise.degrees)) * noise.sd * math.sqrt(2 / number)
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def parts_of(sizes: Sequence[Size]) -> dict[int, Parts]:
    """Each size's step: waiting and synchronisation as measured, the rest by a line in the batch size.

    The line a + s·B with a, s ≥ 0 is fitted to the rest in ratios; a is what a step costs by itself. Of one size
    nothing is known of a.
    """
    rests = np.array([max(0.0, size.step_seconds - size.wait_seconds - size.sync_seconds) for size in sizes])
    batch_sizes = np.array([size.batch_size for size in sizes], dtype=float)
    fixed = 0.0
    if len(sizes) > 1 and (rests > 0).all():
        from scipy.optimize import nnls

        design = np.stack([1 / rests, batch_sizes / rests], axis=1)
        scale = np.linalg.norm(design, axis=0)
        fixed = float((nnls(design / scale, np.ones(len(sizes)))[0] / scale)[0])
    found = {}
    for size, rest in zip(sizes, rests.tolist(), strict=True):
        own = min(fixed, rest)
        found[size.batch_size] = Parts(
            min(size.wait_seconds, size.step_seconds), size.sync_seconds, own, max(0.0, rest - own)
        )
    return found


def _bound(
    sizes: Sequence[Size],
    knee: Size,
    parts: dict[int, Parts],
    doublings: Sequence[Doubling],
    ended: Ended,
    within: float,
    limits: Thresholds,
) -> Part:
    """What would have to change for a larger throughput: by the largest size, which has the most of what grows."""
    at_knee, last = parts[knee.batch_size], parts[sizes[-1].batch_size]
    if at_knee.input >= limits.bounds * at_knee.total or last.input >= limits.bounds * last.total:
        return "input"
    if last.synchronisation >= limits.bounds * last.total:
        return "synchronisation"
    still_grows = knee is sizes[-1] and (not doublings or doublings[-1].gain.value > 1 / (1 - within))
    if ended == "memory" and still_grows:
        return "memory"
    if still_grows and last.fixed >= limits.bounds * last.total:
        return "fixed cost"
    return "compute"


def _doubling(one: Size, two: Size, noise: Noise, limits: Thresholds) -> Doubling:
    waits, syncs = two.wait_seconds - one.wait_seconds, two.sync_seconds - one.sync_seconds
    rest = (two.step_seconds - one.step_seconds) - waits - syncs
    most = max(waits, syncs, rest)
    adds: Literal["input", "synchronisation", "compute"] = (
        "input" if most == waits else "synchronisation" if most == syncs else "compute"
    )
    return Doubling(one.batch_size, throughput_ratio(two, one, noise, limits), adds)


def _logs(size: Size) -> NDArray[np.float64]:
    """Of the median seconds of each pass."""
    return np.log([float(np.median(each.seconds)) for each in size.passes])


def _all(passes: Sequence[Pass]) -> NDArray[np.float64]:
    return np.concatenate([each.seconds for each in passes])
