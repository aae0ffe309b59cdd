"""What to do about a finding: a wider range (B5) or a lower one, longer and shorter runs, more stable ones (E8).

The config's `max_steps` is without warmup, which is prepended (E6); a trial's steps are with it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any, Literal

from playbook.analysis.finding import Remedy
from playbook.analysis.tables import Tables
from playbook.study.space import Choice, Dimension, Float, Int

End = Literal["lower", "upper"]

AGAINST_INSTABILITY = (
    "warmup, then clipping, then another optimizer, then initialisation and normalization within the residual branches,"
    " and a lower learning rate last"
)
"""In the order in which to try them (E8)."""

LONGEST = 6
"""Of a longer grid only the values at that end are run again."""
MAGNITUDE = 3
"""A grid of such ratios is of something felt by its magnitude, and 1 is no limit to it as it is to 0.1, 0.2, 0.4."""
SIZES = 4
"""Whole numbers on a log scale are mostly sizes, and ten times the width is a hundred times the work."""


def widened(dimension: Dimension, end: End) -> Dimension | None:
    """The dimension with one end moved on; None where it cannot be: it is at its natural limit, or has no order.

    A log range gets a decade more (whole numbers a factor 4), a linear one as much again, a grid two more values (a
    long one without those far from that end).
    What is positive stays positive, and what lies in [0, 1] goes at most half of the way from there to 1.
    """
    if isinstance(dimension, Choice):
        return _longer(dimension, end)
    moved: Any = _whole(dimension, end) if isinstance(dimension, Int) else _real(dimension, end)
    wider = dimension if moved is None else replace(dimension, **{"low" if end == "lower" else "high": moved})
    return None if wider == dimension else wider


def _real(dimension: Float, end: End) -> float | None:
    low, high = dimension.low, dimension.high
    if dimension.scale == "log":
        return _short(low / 10 if end == "lower" else high * 10)
    if dimension.scale == "log_one_minus":
        if end == "upper":
            return 1 - _short((1 - high) / 10)
        return _short(max(0.0, 1 - 10 * (1 - low)))
    width = high - low
    if end == "upper":
        return _short(min(high + width, (high + 1) / 2) if low >= 0 and high <= 1 else high + width)
    if low < 0 or low > width:
        return _short(low - width)
    return _short(low / 10) if low > 0 else None


def _whole(dimension: Int, end: End) -> int:
    low, high = dimension.low, dimension.high
    if dimension.scale == "log":
        return max(1, low // SIZES) if end == "lower" else high * SIZES
    width = high - low + 1
    if end == "upper":
        return high + width
    floor = 1 if low >= 1 else 0 if low == 0 else low - width
    return max(floor, low - width)


def _longer(grid: Choice, end: End) -> Choice | None:
    """Two more values: by the last ratio where the grid is one of ratios or goes towards 0, else by the last step."""
    if not grid.is_ordered:
        return None
    ordered = sorted(grid.values, reverse=end == "lower")
    (before, last), low, high = ordered[-2:], grid.low, grid.high
    if last == 0:
        return None
    whole = all(isinstance(each, int) for each in ordered)
    by_ratio = low >= 0 and before != 0 and (_is_geometric(ordered) or (end == "lower" and low > 0))
    by_magnitude = by_ratio and abs(last / before) >= MAGNITUDE
    fraction = not whole and not by_magnitude and low >= 0 and high < 1
    more: list[int | float] = []
    for _ in range(2):
        value = last * (last / before) if by_ratio else last + (last - before)
        value = round(value) if whole else _short(value)
        if value == last or (low > 0 >= value) or (fraction and value >= 1):
            break
        more.append(value)
        last, before = value, last
    longer = sorted([*ordered[-LONGEST:], *more])
    return Choice(tuple(longer)) if more else None


def _is_geometric(ordered: list[int | float]) -> bool:
    """Whether the neighbours' ratios are more alike than their differences; two values are taken for a ratio."""
    steps = [abs(b - a) for a, b in itertools.pairwise(ordered)]
    if min(ordered) == 0:  # 0, 0.25, 0.5 goes by steps; 0, 1e-4, 1e-3 does not
        return max(steps) > 2 * min(steps)
    ratios = [abs(math.log(b / a)) for a, b in itertools.pairwise(ordered)]
    return max(ratios) / min(ratios) <= max(steps) / min(steps)


def scaled(dimension: Dimension, factor: float) -> Dimension | None:
    """The dimension with all of its values times a positive factor; None where they are not real numbers above 0."""
    if isinstance(dimension, Float) and dimension.scale != "log_one_minus" and dimension.low >= 0:
        return replace(dimension, low=_brief(dimension.low * factor), high=_brief(dimension.high * factor))
    if isinstance(dimension, Choice) and dimension.is_ordered and dimension.low > 0:
        return Choice(tuple(_brief(float(value) * factor) for value in dimension.values))
    return None


def _brief(value: float) -> float:
    """With two significant digits: it was estimated."""
    return float(f"{value:.2g}")


def _short(value: float) -> float:
    """With six significant digits: ends of ranges are read aloud."""
    return float(f"{value:.6g}")


def longer(tables: Tables) -> tuple[Remedy, ...]:
    """The study again with twice the steps; nothing where their number is unknown."""
    if tables.max_steps is None:
        return ()
    return (Remedy({"max_steps": 2 * (tables.max_steps - tables.warmup_steps)}),)


def shorter(tables: Tables, enough: float) -> tuple[Remedy, ...]:
    """The study again with half as many steps more than were `enough`, if that saves any."""
    steps = round_up(max(1.0, 1.5 * enough - tables.warmup_steps))
    saves = tables.max_steps is not None and steps < tables.max_steps - tables.warmup_steps
    return (Remedy({"max_steps": steps}),) if saves else ()


def round_up(steps: float) -> int:
    """The next number of two digits and zeros: 1,234 → 1,300."""
    unit = 10 ** max(0, math.floor(math.log10(max(steps, 1))) - 1)
    return math.ceil(max(steps, 1) / unit) * unit
