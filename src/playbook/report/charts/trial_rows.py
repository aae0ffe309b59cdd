"""A row a trial, as the charts and the table of the page read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import NUM_BEST, Tables
from playbook.report.charts.axes import Axis, settings_of
from playbook.report.charts.objective_axis import ObjectiveAxis
from playbook.text import brief


def trial_rows(tables: Tables, axes: Sequence[Axis], objective: ObjectiveAxis) -> list[dict[str, Any]]:
    """The rows, in the order of the trials.

    `y` is where the objective is drawn, `kind` how: `trial`, `best`, `infeasible`, or `crashed`, which is not drawn;
    `beyond` that it lies beyond the axis. Each axis has a column of its own, and `tip` says it all in words.
    """
    best = set(tables.ranked()["trial"].head(num_best(tables)))
    judged = set(causes(tables).filter(pl.col("cause").is_not_null())["trial"]) - best
    rows = []
    for row in tables.trials.iter_rows(named=True):
        value = row["objective"]
        drawn = value is not None and math.isfinite(value) and row["status"] == "complete"
        works = drawn and row["trial"] not in judged
        kind = "best" if row["trial"] in best else "trial" if works else row["status"]
        settings = settings_of(tables, row)
        rows.append(
            {
                "trial": row["trial"],
                "arm": row["arm"],
                "status": row["status"],
                "objective": value if drawn else None,
                "best_step": row.get("best_step"),
                "y": float(f"{objective.place(value if drawn else None):.6g}"),
                "kind": "infeasible" if kind == "complete" else kind,  # complete, and no better than chance, say (B7)
                "beyond": works and objective.is_beyond(value),
                "tip": _tip(tables, row, value if drawn else None, settings),
                **{axis.field: _place(axis, row, settings) for axis in axes},
            }
        )
    return rows


def num_best(tables: Tables) -> int:
    """How many trials are stars: few in a small study, so that a star means something."""
    return max(1, min(NUM_BEST, len(tables.ranked()) // 4))


def _tip(tables: Tables, row: Mapping[str, Any], value: float | None, settings: Mapping[str, Any]) -> str:
    """One text, since a chart of a thousand trials is drawn again while it is brushed; `page.js` makes the same."""
    result = row["status"] if value is None else f"{tables.objective.metric} {brief(value)}"
    return f"trial {row['trial']}: {result} · {', '.join(f'{key}={brief(each)}' for key, each in settings.items())}"


def _place(axis: Axis, row: Mapping[str, Any], settings: Mapping[str, Any]) -> float | None:
    if row["arm"] not in axis.arms or axis.key not in settings:
        return None
    return axis.place(settings[axis.key], row["trial"])
