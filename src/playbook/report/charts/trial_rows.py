"""A row a trial, as the charts and the table of the page read it; and a row a setting that is repeated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from playbook.analysis.repeats import trained_settings
from playbook.analysis.tables import Tables
from playbook.report.charts.axes import Axis, settings_of
from playbook.report.charts.objective_axis import ObjectiveAxis
from playbook.report.charts.repeated import repeated
from playbook.report.charts.standing import standing
from playbook.text import brief

MOST_WITH_INTERVALS = 200
"""Trials, or settings, of a chart that has an interval at each: more are a thicket."""


def trial_rows(tables: Tables, axes: Sequence[Axis], objective: ObjectiveAxis) -> list[dict[str, Any]]:
    """The rows, in the order of the trials.

    `y` is where the objective is drawn, `kind` how: `best`, `member` (of those that cannot be told from the best),
    `trial`, `infeasible`, or `crashed`, which is not drawn; `beyond` that it lies beyond the axis; `cause` why it is
    infeasible; `low` and `high`, where they are known and few, one standard error of the objective below and above.
    Each axis has a column of its own, and `tip` says it all in words.
    """
    stands, kinds = standing(tables), _kinds(tables)
    with_intervals = has_intervals(tables)
    rows = []
    for row in tables.trials.iter_rows(named=True):
        value, cause = row["objective"], stands.failed.get(row["trial"])
        drawn = value is not None and math.isfinite(value) and row["status"] == "complete"
        works = drawn and cause is None
        se = row["objective_se"] if with_intervals and works else None
        settings = settings_of(tables, row)
        rows.append(
            {
                "trial": row["trial"],
                "arm": row["arm"],
                "status": row["status"],
                "objective": value if drawn else None,
                "best_step": row.get("best_step"),
                "y": _short(objective.place(value if drawn else None)),
                # Complete, and no better than chance, say, is infeasible (B7).
                "kind": kinds.get(row["trial"], "trial") if works else _failed(row["status"]),
                "beyond": works and objective.is_beyond(value),
                **({"cause": cause} if stands.failed else {}),
                **(_interval(objective, value, se) if with_intervals else {}),
                "tip": _tip(tables, row, value if drawn else None, cause, se, settings),
                **{axis.field: _place(axis, row, settings) for axis in axes},
            }
        )
    return rows


def has_intervals(tables: Tables) -> bool:
    """Whether each trial has an interval: its standard error is known, no repeats know better, and there is room."""
    return (
        "objective_se" in tables.trials.columns
        and tables.trials["objective_se"].drop_nulls().len() > 0
        and len(tables.trials) <= MOST_WITH_INTERVALS
        and not repeated(tables)
    )


def setting_rows(tables: Tables, axes: Sequence[Axis], objective: ObjectiveAxis) -> list[dict[str, Any]]:
    """A row a setting that trained, where some are repeated: its mean `y`, and the `kind` of the trial that stands for
    it; of the repeated ones also `low` and `high`, one standard error of the mean below and above.

    Empty where they are too many to be told apart.
    """
    repeats, kinds = {each.trial: each for each in repeated(tables)}, _kinds(tables)
    settings = [each for each in trained_settings(tables) if each.trial not in standing(tables).failed]
    if not repeats or len(settings) > MOST_WITH_INTERVALS:
        return []
    of_trial = {row["trial"]: row for row in tables.trials.iter_rows(named=True)}
    rows = []
    for each in settings:
        row, mean = of_trial[each.trial], each.loss * tables.sign
        values, se = settings_of(tables, row), repeats[each.trial].se if each.trial in repeats else None
        number = brief(mean) if se is None else _with_error(mean, se)
        over = f" on average over {len(each.trials)} repeats" if len(each.trials) > 1 else ""
        rows.append(
            {
                "trial": each.trial,
                "arm": each.arm,
                "kind": kinds.get(each.trial, "trial"),
                "y": _short(objective.place(mean)),
                **_interval(objective, mean, se),
                "tip": f"{tables.objective.metric} {number}{over} · {_said(values)}",
                **{axis.field: _place(axis, row, values) for axis in axes},
            }
        )
    return rows


def _kinds(tables: Tables) -> dict[int, str]:
    stands = standing(tables)
    return dict.fromkeys(stands.members, "member") | dict.fromkeys(stands.best, "best")


def _failed(status: str) -> str:
    return "infeasible" if status == "complete" else status


def _interval(objective: ObjectiveAxis, value: float | None, se: float | None) -> dict[str, float | None]:
    if value is None or se is None or not math.isfinite(se):
        return {"low": None, "high": None}
    return {"low": _short(objective.place(value - se)), "high": _short(objective.place(value + se))}


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _with_error(value: float, se: float) -> str:
    return f"{brief(value)} ± {brief(se, digits=2)}"


def _tip(
    tables: Tables,
    row: Mapping[str, Any],
    value: float | None,
    cause: str | None,
    se: float | None,
    settings: Mapping[str, Any],
) -> str:
    """One text, since a chart of a thousand trials is drawn again while it is brushed; `page.js` makes the same."""
    result = row["status"]
    if value is not None:
        result = f"{tables.objective.metric} {brief(value) if se is None else _with_error(value, se)}"
    why = f", {cause}" if cause else ""
    return f"trial {row['trial']}: {result}{why} · {_said(settings)}"


def _said(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={brief(value)}" for key, value in settings.items())


def _place(axis: Axis, row: Mapping[str, Any], settings: Mapping[str, Any]) -> float | None:
    if row["arm"] not in axis.arms or axis.key not in settings:
        return None
    return axis.place(settings[axis.key], row["trial"])
