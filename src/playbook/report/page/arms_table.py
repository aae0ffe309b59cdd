"""The arms as a table of the page: what each has reached, what it would reach again, and the verdict (B3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables
from playbook.report.charts.arms import best_first, colours
from playbook.report.charts.standing import counts
from playbook.text import brief

MOST_ROWS = 8
"""Of the table at first; the others open on request."""
COLUMNS: Mapping[str, tuple[str, str]] = {
    "trials": ("trials", "each setting counted once"),
    "infeasible": ("infeasible", "diverged, or no better than at the start or than chance"),
    "best": ("best", "the best value of its trials"),
    "expected": ("expected", "what its best setting would reach if it were trained again"),
    "interval": ("interval", "of the expected value"),
    "p_best": ("P(best)", "the probability that the arm is the best"),
    "of_start": ("lr sensitivity", "of what training gained, lost on average where lr is up to 30 times off"),
    "verdict": ("verdict", "against the best arm; its own is better where all others are worse"),
}
"""Of the evidence of `arms`, and of `lr_sensitivity` of each: the head of each column, and what it means."""


Row = tuple[str, str, int | None, tuple[str, ...]]


@dataclass(frozen=True)
class ArmsTable:
    """`head` has `(title, meaning)`, a row `(arm, colour, trial, cells)`; `more` has the rows that open on request."""

    head: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    more: tuple[Row, ...]


def arms_table(tables: Tables, findings: Sequence[Finding]) -> ArmsTable | None:
    """The table, where a finding is about the arms; the best first."""
    rows = next((finding.evidence.get("arms") for finding in findings if finding.code == "arms"), None)
    if not rows:
        return None
    lost = {each.arm: each.evidence.get("of_start") for each in findings if each.code == "lr_sensitivity"}
    counted = {row["arm"]: counts(tables, row["arm"]) for row in rows}
    of_others = {
        arm: {"trials": each.tried, "infeasible": each.failed, "of_start": lost.get(arm)}
        for arm, each in counted.items()
    }
    rows = [row | of_others[row["arm"]] for row in rows]
    keys = [key for key in COLUMNS if any(row.get(key) is not None for row in rows)]
    place = {arm: place for place, arm in enumerate(best_first(tables))}
    colour = colours(tables)
    ordered = tuple(
        (row["arm"], colour.get(row["arm"], ""), row.get("trial"), tuple(_cell(key, row.get(key)) for key in keys))
        for row in sorted(rows, key=lambda row: place.get(row["arm"], len(place)))
    )
    return ArmsTable(tuple(COLUMNS[key] for key in keys), ordered[:MOST_ROWS], ordered[MOST_ROWS:])


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if key == "interval":
        low, high = value
        return f"{brief(low)} to {brief(high)}" if low is not None and high is not None else "–"
    return f"{value:.0%}" if key in ("p_best", "of_start") else brief(value)
