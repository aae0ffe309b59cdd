"""Does the loss of a run go up during training, when did that begin, and was it in the first steps? (E5)

A rise is of the loss of steps, above what the run had come down to *and* above what a calm run, of a much lower
learning rate, had on the very same batches: a hard batch is hard for both, and so is a stretch of hard data. It must be
large against what there is to learn, and against the noise of a batch. A run that stays high, or learns slowly, does
not rise. Lists of numbers in, a judgement out; nothing here knows of runs and studies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.curves.rectangle import lower_rms

Numbers = NDArray[np.float64]
Kind = Literal["stable", "early", "mid-run"]


@dataclass(frozen=True)
class Thresholds:
    """What counts as a rise."""

    early: float = 0.1
    """Share of `max_steps` in which an instability is early: what warmup can be about is at most so long (E6)."""
    of_scale: float = 0.25
    """Of what there is to learn, that a rise of several steps must be: less does not cost a run its quality."""
    of_scale_once: float = 0.5
    """The same of a single step."""
    noises: float = 4.5
    """Of one batch, that the median of several steps must lie above the lowest before. The lowest of thousands of
    medians is 2 noises low by luck alone, and noise that hangs together is larger than its estimate from neighbours."""
    noises_once: float = 6.0
    """The same of a single step."""
    widths: tuple[int, ...] = (1, 3, 9, 27, 81, 243)
    """Steps whose median is judged: an instability may last for one step, or for the rest of the run."""
    level: int = 3
    """Steps, at least, whose median is a level that the run had come down to."""
    early_level: float = 2 / 3
    """Quantile of the losses over the logarithm of the step that is where learning began."""
    around: int = 16
    """Steps to either side whose jumps make the noise at a step."""
    fewest_blocks: int = 12
    """Blocks of a width from which on their own noise is known."""
    infinite: float = 1e30
    """Losses beyond it are as good as infinite."""


@dataclass(frozen=True)
class Course:
    """How the loss of a run went: `kind`, and where it is not stable the step at which the rise began, its top, and
    its height in what there is to learn. `diverged`: the loss was not finite in the end."""

    kind: Kind
    onset: int | None = None
    top_step: int | None = None
    top: float | None = None
    height: float | None = None
    diverged: bool = False

    @property
    def unstable(self) -> bool:
        """Whether the loss rose at all."""
        return self.kind != "stable"


@dataclass(frozen=True)
class Calm:
    """The losses (steps,) of a run of a much lower learning rate and the same seed, which sees the same batches."""

    losses: Numbers
    limits: Thresholds = Thresholds()

    @cached_property
    def scale(self) -> float:
        """What there is to learn: an early loss above the lowest one.

        Early is a third of the way along the logarithm of the step. The very first losses may be anything: 55 in a
        network that was begun badly, where chance is 2.3; and much later there is nothing left to learn.
        """
        levels = _trailing_medians(_usable(self.losses, self.limits)[0], 5)
        if not len(levels):
            return 0.0
        steps = np.unique(np.round(np.geomspace(1, len(levels), 24)).astype(int)) - 1
        return float(np.quantile(levels[steps], self.limits.early_level) - levels.min())


def judge(losses: Sequence[float] | Numbers, calm: Calm, early_steps: int, limits: Thresholds = Thresholds()) -> Course:
    """How the loss went of a run with these losses, a step each from step 0 on.

    What begins within the first `early_steps` is early. The calm run may be shorter; past its end it has no say.
    """
    values, diverged_at = _usable(losses, limits)
    same = np.full(len(values), -np.inf)
    of_calm = _usable(calm.losses, limits)[0][: len(values)]
    same[: len(of_calm)] = of_calm
    noise = np.fmax(_noise_before(values, limits), _padded(_noise_at(of_calm, limits), len(values)))
    least = calm.scale * limits.of_scale, calm.scale * limits.of_scale_once
    onset, highest = None, -np.inf
    for width in limits.widths:
        if len(values) <= width:
            break
        over, medians, needed = _above(values, same, noise, width, limits)
        once = width == 1
        wanted = np.maximum(least[once], needed * (limits.noises_once if once else limits.noises))
        where = np.flatnonzero(over > wanted)
        highest = max(highest, float(over[where].max(initial=-np.inf)))
        if len(where):
            first = int(where[0])  # the window from the step after it on
            halfway = medians[first] - over[first] / 2
            level = _trailing_medians(values[first + 1 : first + 1 + width][::-1], min(width, limits.level))[::-1]
            begins = first + 1 + int(np.argmax(level > halfway))
            begins += int(np.argmax(values[begins : begins + limits.level] > halfway))
            onset = begins if onset is None else min(onset, begins)
    if diverged_at is not None:
        onset = diverged_at if onset is None else min(onset, diverged_at)
    if onset is None:
        return Course("stable")
    top = onset + int(np.argmax(values[onset:])) if onset < len(values) else None
    return Course(
        kind="early" if onset <= early_steps else "mid-run",
        onset=onset,
        top_step=top,
        top=None if top is None else float(values[top]),
        height=highest / calm.scale if calm.scale > 0 and np.isfinite(highest) else None,
        diverged=diverged_at is not None,
    )


def holds(losses: Numbers, baseline: Numbers, calm: Calm, limits: Thresholds = Thresholds()) -> bool:
    """Whether training stays stable after warmup (E6): the loss does not rise, and ends where that of the baseline run
    of the same seed is by then, or below; a network that died at a high loss does not hold.

    The end is the last third: with warmup and twice as many steps after it, the second half of the latter.
    """
    if judge(losses, calm, 0, limits).unstable:
        return False
    end = slice(2 * len(losses) // 3, len(losses))
    if len(baseline) < len(losses):
        return False
    return bool(np.median(losses[end]) <= np.median(baseline[end]) + limits.of_scale * calm.scale)


def _above(
    values: Numbers, same: Numbers, noise: Numbers, width: int, limits: Thresholds
) -> tuple[Numbers, Numbers, Numbers]:
    """(steps − width,): how far the median of `width` steps, from step 1 on, is above the lowest level before it and
    above the calm run on the same batches; that median; and the noise that it is held against."""
    medians = _trailing_medians(values, width)[width:]
    of_calm = _trailing_medians(same, width)[width:]
    lowest = np.minimum.accumulate(_trailing_medians(values, max(width, limits.level)))[: len(medians)]
    over = medians - np.maximum(lowest, of_calm)
    here = noise[1 : len(medians) + 1]
    return over, medians, np.fmax(here, _noise_of_blocks(values, width, limits))


def _noise_of_blocks(values: Numbers, width: int, limits: Thresholds) -> float:
    """The noise of the median of so many steps, from blocks side by side: larger than that of independent steps where
    the noise hangs together. 0 where there are too few."""
    blocks = len(values) // width
    if width < limits.around // 2 or blocks < limits.fewest_blocks:
        return 0.0
    medians = np.median(values[: blocks * width].reshape(blocks, width), axis=1)
    return float(lower_rms(np.abs(np.diff(medians, n=2))[None, :], share=0.5)[0] / np.sqrt(6))


def _noise_at(values: Numbers, limits: Thresholds) -> Numbers:
    """(steps,): the noise of one step around each, from second differences; a quarter of them may be anything."""
    if len(values) < 3:
        return np.zeros(len(values))
    bends = np.full(len(values) + 2 * limits.around, np.nan)
    bends[limits.around + 1 : limits.around + len(values) - 1] = np.abs(np.diff(values, n=2))
    windows = np.lib.stride_tricks.sliding_window_view(bends, 2 * limits.around + 1)
    return lower_rms(windows) / np.sqrt(6)


def _noise_before(values: Numbers, limits: Thresholds) -> Numbers:
    """(steps,): the noise of the steps that lie before one, so that a rise is not held against itself; 0 at first."""
    noise = _noise_at(values, limits)
    late = limits.around + 1
    before = np.zeros(len(values))
    before[late:] = noise[: max(0, len(values) - late)]
    return before


def _trailing_medians(values: Numbers, width: int) -> Numbers:
    """(steps,): the median of the last `width` steps up to each, of fewer at the beginning."""
    return pl.Series(values, dtype=pl.Float64()).rolling_median(width, min_samples=1).to_numpy()


def _padded(values: Numbers, length: int) -> Numbers:
    padded = np.zeros(length)
    padded[: len(values)] = values
    return padded


def _usable(losses: Sequence[float] | Numbers, limits: Thresholds) -> tuple[Numbers, int | None]:
    """The losses before the first that is not finite, and its step."""
    values = np.asarray(losses, dtype=np.float64)
    bad = np.flatnonzero(~(np.abs(values) < limits.infinite))
    return (values, None) if not len(bad) else (values[: bad[0]], int(bad[0]))
