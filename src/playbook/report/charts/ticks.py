"""Ticks that a person reads: round values where a scale is not even, and no zeros to count."""

from __future__ import annotations

import math
from typing import Any

NUMBER = (
    "datum.value != 0 && (abs(datum.value) < 0.001 || abs(datum.value) >= 100000)"
    " ? format(datum.value, '~e') : format(datum.value, '~g')"
)
"""A Vega expression for the label of a number: 0.02, 1e-6."""
ONE_MINUS = "format(1 - datum.value, '.6~g')"
"""The same on an axis of 1 − x."""
MOST = 7


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two positive numbers; where they are few, their doubles and halves too."""
    first, last = math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1
    for factors, stride in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 4), ((1,), 16)):
        values = [factor * 10.0**power for power in range(first, last + 1) if power % stride == 0 for factor in factors]
        inside = [float(f"{value:.3g}") for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) <= MOST:
            return inside
    return [low, high]


def number_axis(scale: str, low: float, high: float) -> dict[str, Any]:
    """Vega-Lite's `axis` of a linear or log scale of numbers."""
    if scale == "log":
        return {"values": log_ticks(low, high), "labelExpr": NUMBER, "labelOverlap": True}
    return {"tickCount": 5, "labelExpr": NUMBER, "labelOverlap": True}


STEPS: dict[str, Any] = {"tickCount": 5, "format": ",d", "tickMinStep": 1}
"""Vega-Lite's `axis` of optimizer steps."""
