"""The axis on which objectives are drawn: of the trials that matter, with the monstrous ones at its edge.

One trial with a loss of 1e17 would otherwise press all others into a line. What is beyond the axis is drawn at its
edge as an arrow, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from playbook.report.charts.ticks import number_axis

LOG_RATIO = 8.0
"""Positive values over more than this ratio are drawn on a log axis, where less is better: its end is wide there."""


LARGEST = 1e300
"""What is larger is beyond every axis: the length of one that held it might be no number."""


@dataclass(frozen=True)
class ObjectiveAxis:
    """`low` and `high` are its ends, `worst` the one where a trial without an objective is drawn."""

    low: float
    high: float
    scale: Literal["linear", "log"]
    worst: float

    def vega_scale(self) -> dict[str, Any]:
        """Vega-Lite's `scale`."""
        zero = {"zero": False} if self.scale == "linear" else {}  # of no meaning on a log scale
        return {"domain": [self.low, self.high], "type": self.scale, "nice": False, **zero}

    def vega_axis(self) -> dict[str, Any]:
        """Vega-Lite's `axis`."""
        return number_axis(self.scale, self.low, self.high)

    def place(self, value: float | None) -> float:
        """Where a value is drawn: within the ends."""
        if value is None or not math.isfinite(value):
            return self.worst
        return min(max(value, self.low), self.high)

    def is_beyond(self, value: float) -> bool:
        """Whether it is drawn at an edge that it lies beyond."""
        return not self.low <= value <= self.high


def objective_axis(values: Sequence[float], mode: Literal["min", "max"]) -> ObjectiveAxis:
    """The axis for these objectives: from the best to a robust estimate of where the others end."""
    finite = np.sort(np.clip([value for value in values if math.isfinite(value)], -LARGEST, LARGEST))
    if not len(finite):
        return ObjectiveAxis(0.0, 1.0, "linear", 1.0 if mode == "min" else 0.0)
    low, high = (float(finite[0]), _end(finite)) if mode == "min" else (-_end(-finite[::-1]), float(finite[-1]))
    scale: Literal["linear", "log"] = "log" if mode == "min" and low > 0 and high / low > LOG_RATIO else "linear"
    if scale == "log":
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
    else:
        margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        # Nothing below nothing: an axis of errors begins at 0, not at −0.01.
        low, high = max(low - margin, 0.0) if low >= 0 else low - margin, high + margin
    return ObjectiveAxis(low, high, scale, high if mode == "min" else low)


def _end(values: NDArray[np.float64]) -> float:
    """The largest of the sorted values that is not far beyond its neighbours, as a loss that blew up is."""
    if len(values) < 4 or values[-1] <= values[0]:
        return float(values[-1])
    if values[0] > 0:  # by their ratio: a log axis holds two decades, and more where many trials are there
        logs = np.log(values)
        middle, upper = np.quantile(logs, [0.5, 0.8])
        end = max(upper + 2.0 * (upper - middle), logs[0] + math.log(100))
        return float(values[logs <= end][-1])
    middle, upper = np.quantile(values, [0.5, 0.8])
    end = upper + 3.0 * (upper - middle)
    return float(values[values <= max(end, middle)][-1])
