"""Longer and shorter runs as remedies: round numbers of steps.

The config's `max_steps` is without warmup, which is prepended (E6); a trial's steps are with it.
"""

from __future__ import annotations

import math

from playbook.analysis.finding import Remedy
from playbook.analysis.tables import Tables


def longer(tables: Tables) -> tuple[Remedy, ...]:
    """The study again with twice the steps; nothing where their number is unknown."""
    if tables.max_steps is None:
        return ()
    return (Remedy((f"max_steps={2 * (tables.max_steps - tables.warmup_steps)}",)),)


def shorter(tables: Tables, enough: float) -> tuple[Remedy, ...]:
    """The study again with half as many steps more than were `enough`, if that saves any."""
    steps = round_up(max(1.0, 1.5 * enough - tables.warmup_steps))
    saves = tables.max_steps is not None and steps < tables.max_steps - tables.warmup_steps
    return (Remedy((f"max_steps={steps}",)),) if saves else ()


def round_up(steps: float) -> int:
    """The next number of two digits and zeros: 1,234 → 1,300."""
    unit = 10 ** max(0, math.floor(math.log10(max(steps, 1))) - 1)
    return math.ceil(max(steps, 1) / unit) * unit
