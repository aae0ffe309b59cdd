"""One line of the table: a verdict, the scenario that it is tried on, and what share of it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

Summary = tuple[float, float, float]
"""A value and its 95 % interval."""


def share(drawn: Sequence[Any]) -> Summary:
    """Of the studies in which something was said, with its exact interval."""
    count, total = sum(map(bool, drawn)), len(drawn)
    interval = binomtest(count, total).proportion_ci(0.95, "exact")
    return count / total, float(interval.low), float(interval.high)


def mean(drawn: Sequence[Any]) -> Summary:
    """Of a number a study, with twice its standard error."""
    values = np.asarray(drawn, dtype=np.float64)
    error = 2 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else float("inf")
    return float(values.mean()), float(values.mean()) - error, float(values.mean()) + error


def auc(drawn: Sequence[Any]) -> Summary:
    """How well scores tell true from false: of pairs (score, truth) the probability that a true one scores higher."""
    scores = np.array([float(score) for score, _ in drawn])
    truth = np.array([bool(true) for _, true in drawn])
    higher = scores[truth][:, None] - scores[~truth][None, :]
    value = float(np.mean((higher > 0) + 0.5 * (higher == 0)))
    error = 2 * (value * (1 - value) / max(min(truth.sum(), (~truth).sum()), 1)) ** 0.5
    return value, value - error, value + error


@dataclass(frozen=True)
class Claim:
    """What `draw` says of one study with a known truth, `studies` times, summarised as `summary` says.

    `draw` returns None for a study that does not count (in which the scenario did not happen). The claim holds where
    the summary is within `at_most` and `at_least`; with neither it is only told.
    """

    verdict: str
    scenario: str
    draw: Callable[[np.random.Generator], Any]
    at_most: float | None = None
    at_least: float | None = None
    studies: int = 200
    summary: Callable[[Sequence[Any]], Summary] = share

    @property
    def wanted(self) -> str:
        """The bound in words."""
        if self.at_most is not None and self.at_least is not None:
            return f"{self.at_least:g} to {self.at_most:g}"
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"

    def holds(self, value: float) -> bool:
        """Whether a value is within the bounds."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)
