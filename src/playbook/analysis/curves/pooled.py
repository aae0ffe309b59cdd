"""What the better trials of an arm say together: each is a witness, and how far they disagree is the noise.

Validation examples are the same at every evaluation, and weights change slowly, so that the error of one trial wanders
from evaluation to evaluation: no test within one curve tells such a wander from a trend. The trials wander each for
itself. So a quantity is measured in each of them, and Student's test over the trials asks whether it is more than they
disagree by; how their noise hangs together is of no matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import t as student

from playbook.analysis.curves import rectangle
from playbook.analysis.curves.noise import noise
from playbook.analysis.curves.rectangle import Curves, Values, best_first, condensed, of_metric
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """Which trials are asked, and at how many points."""

    asked: tuple[int, int] = (6, 40)
    """Of the better quarter of an arm, at least and at most so many: five show too little how far they disagree."""
    fewest: int = 3
    """Trials below which they do not show how far they disagree."""
    one_in: int = 10
    """Of the points, that make the stretch whose mean is taken: one of twenty is a single lucky evaluation."""


@dataclass(frozen=True)
class Pooled:
    """A mean over trials, with its standard error and the degrees of freedom of that."""

    mean: float
    error: float
    freedom: float

    @property
    def p_above(self) -> float:
        """The chance of such a mean, or a higher one, if it is 0."""
        if not self.error > 0:
            return 0.0 if self.mean > 0 else 1.0
        return float(student.sf(self.mean / self.error, self.freedom))

    @property
    def p_below(self) -> float:
        """The same of a lower one."""
        return replace(self, mean=-self.mean).p_above

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Its ends, with so much confidence."""
        reach = float(student.isf((1 - confidence) / 2, self.freedom)) * self.error
        return self.mean - reach, self.mean + reach


@dataclass(frozen=True)
class Group:
    """Trials that are judged together: the better ones of an arm (`asked`, best first), of so many `judged` ones.

    `arm` is None where arms are so small that they are judged together.
    """

    arm: str | None
    asked: NDArray[np.int64]
    trials: NDArray[np.int64]

    @property
    def judged(self) -> int:
        """How many trials have a curve."""
        return len(self.trials)


def groups(tables: Tables, trials: NDArray[np.int64], limits: Thresholds = Thresholds()) -> list[Group]:
    """Those of the `trials` that are judged together: arm by arm; arms with too few as one, if that is enough."""
    arms = {
        arm: rows["trial"].to_numpy() for arm, rows in best_first(tables, pl.DataFrame({"trial": trials.astype(int)}))
    }
    found = [Group(arm, better(each, limits), each) for arm, each in arms.items() if len(each) >= limits.fewest]
    small = {trial for each in arms.values() if len(each) < limits.fewest for trial in each.tolist()}
    if len(small) >= limits.fewest:
        rest = np.array([trial for trial in tables.ranked()["trial"] if trial in small])
        found.append(Group(None, better(rest, limits), rest))
    return found


def of_objective(tables: Tables, fewest: int = rectangle.Thresholds.fewest) -> tuple[Curves, list[Group]]:
    """The curves of the objective's metric, of so many evaluations, that did not break; and who is judged together."""
    curves = of_metric(tables, tables.objective.metric, rectangle.Thresholds(fewest=fewest))
    curves = curves.only(~curves.broken)
    return curves, groups(tables, curves.trials)


def better(trials: NDArray[np.int64], limits: Thresholds = Thresholds()) -> NDArray[np.int64]:
    """The better quarter of an arm's trials, which come best first."""
    fewest, most = limits.asked
    return trials[: min(max(fewest, math.ceil(len(trials) / 4)), most)]


def over_trials(measured: Values, noise: float = 0.0) -> Pooled:
    """The mean of what was measured in each of two trials or more.

    `noise` is what each is known to be off by at least: a few trials may agree by chance to less than that.
    """
    count = len(measured)
    error = max(float(measured.std(ddof=1)), noise) / math.sqrt(count)
    return Pooled(float(measured.mean()), error, count - 1)


def typical_noise(curves: Curves, since: float = 0.25) -> float:
    """The noise of one evaluation after a share of the steps, of the typical curve; 0 where it is unknown."""
    known = noise(curves.values, curves.after(since))
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else 0.0


def in_step(curves: Curves, trials: NDArray[np.int64]) -> tuple[Values, Values]:
    """(points,) of shares of the run and (trials, points): the curves of some trials, where all of them are known.

    At most 64 points. Curves of other lengths, or of other steps, are read between their evaluations.
    """
    points = condensed(curves.only(np.isin(curves.trials, trials)))
    rows = np.searchsorted(points.trials, trials)
    steps, values, lengths = points.steps[rows], points.values[rows], points.lengths[rows]
    count = int(lengths.min())
    steps, values = steps[:, : int(lengths.max())], values[:, : int(lengths.max())]
    if np.all(lengths == count) and np.all(steps == steps[0]):
        return steps[0] / steps[0, -1], values
    shares = steps / steps[np.arange(len(rows)), lengths - 1][:, None]
    begin = max(float(share[0]) for share in shares)
    grid = np.linspace(begin, 1.0, count)
    read = [np.interp(grid, share[:n], value[:n]) for share, value, n in zip(shares, values, lengths, strict=True)]
    return grid, np.stack(read)


def width(points: int, limits: Thresholds = Thresholds()) -> int:
    """How many of so many points make a stretch."""
    return max(1, points // limits.one_in)


def stretches(values: Values, width: int) -> Values:
    """(..., points − width + 1): the means of neighbouring values along the last axis."""
    return np.lib.stride_tricks.sliding_window_view(values, width, axis=-1).mean(axis=-1)


def lowest_of_the_others(means: Values) -> NDArray[np.int64]:
    """(trials, ...): for each of the trials (trials, ..., stretches), the stretch in which all others are lowest.

    The lowest of a trial itself is partly luck, and what follows is higher without that.
    """
    return np.asarray((means.sum(axis=0) - means).argmin(axis=-1))
