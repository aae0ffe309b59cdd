"""Numbers, counts and lists as a sentence, a table or a terminal shows them: to read, not to type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from playbook.validation import show

LONGEST = 60
"""Characters of a value."""


def brief(value: Any, digits: int = 4) -> str:
    """A value of any kind: some digits of a number (of 1 − x next to 1: 0.9995), the beginning of a long text."""
    if isinstance(value, float):
        value += 0.0  # -0 is 0
        return f"{1 - float(f'{1 - value:.{digits}g}'):.10g}" if 0.9 < value < 1 else f"{value:.{digits}g}"
    text = show(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def number(value: float | None) -> str:
    """Four digits, or a dash where there is no number."""
    return "–" if value is None else f"{value:.4g}"


def count(how_many: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{how_many} {noun}" if how_many == 1 else f"{how_many} {noun}s"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`; of more than four the first three: `a, b, c and 2 more`."""
    shown = [*names[:3], f"{len(names) - 3} more"] if len(names) > 4 else names
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def duration(seconds: float) -> str:
    """`0.4 s`, `26 s`, `4 min`, `1 h 20 min`, `2 days, 3 h`: as precise as an estimate is."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    whole = timedelta(minutes=minutes)
    hours = whole.seconds // 3600
    if whole.days:
        return f"{count(whole.days, 'day')}, {hours} h"
    return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
