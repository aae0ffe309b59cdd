"""The colours of the arms, and which of very many are drawn: the best."""

from __future__ import annotations

from typing import Any

import altair as alt

from playbook.analysis.tables import Tables, computed_once
from playbook.report.charts.palette import QUIET, SERIES


@computed_once
def best_first(tables: Tables) -> tuple[str, ...]:
    """The arms by their best trial; those without an objective last."""
    return tuple(dict.fromkeys([*tables.ranked()["arm"], *tables.arms]))


@computed_once
def colours(tables: Tables) -> dict[str, str]:
    """A colour for each arm, in order of appearance. Of more arms than there are colours only the best have one."""
    coloured = tables.arms if len(tables.arms) <= len(SERIES) else best_first(tables)[: len(SERIES)]
    of = dict(zip(coloured, SERIES, strict=False))
    return {arm: of.get(arm, QUIET) for arm in tables.arms}


def drawn(tables: Tables, most: int = len(SERIES)) -> tuple[str, ...]:
    """The arms of a chart that has room for so many: the best, in order of appearance."""
    kept = set(best_first(tables)[:most])
    return tuple(arm for arm in tables.arms if arm in kept)


def of_how_many(tables: Tables, most: int = len(SERIES)) -> str:
    """For a caption, where not all are drawn: `The best 8 of 40 arms.`"""
    return f" The best {most} of {len(tables.arms)} arms." if len(tables.arms) > most else ""


def arm_colour(tables: Tables, shown: tuple[str, ...] | None = None, **legend: Any) -> alt.Color:
    """The colour of an arm, with a legend of those shown (all, unless they are given)."""
    of = colours(tables)
    names = [arm for arm in of if shown is None or arm in shown]
    scale = alt.Scale(domain=names, range=[of[arm] for arm in names])
    return alt.Color("arm:N", title=None, scale=scale, legend=alt.Legend(**legend) if legend else None)
