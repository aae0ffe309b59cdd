"""The horizontal axis of each hyperparameter: its range on its scale, or a place for each of its choices."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from playbook.analysis.tables import Tables
from playbook.report.charts.arms import best_first
from playbook.report.charts.ticks import ONE_MINUS, number_axis
from playbook.study.space import Choice, Dimension, Int, Value
from playbook.validation import show

LOG_DECADES = 1.0
"""A grid of positive numbers over more decades than this is drawn on a log axis."""
MOST_GROUPS = 8
"""Axes of one hyperparameter, where it is another one in each arm: those of the best arms."""
JITTER = 0.5
"""Trials of one choice are spread over this share of its place, so that they do not hide one another."""
_GOLDEN = 0.618033988749895


@dataclass(frozen=True)
class Axis:
    """A hyperparameter as it is drawn, in some of the arms.

    `field` is the column of the drawn values. On `log_one_minus` that is 1 − x on a reversed log axis; for choices it
    is their place 0, 1, … with the trials spread around it. `where` is empty for a hyperparameter of all arms.
    `left_out` counts the groups of arms whose own axis of it is not drawn: the axis of the best group says so.
    """

    field: str
    key: str
    arms: tuple[str, ...]
    where: str
    scale: Literal["linear", "log", "log_one_minus", "choices"]
    low: float
    high: float
    choices: tuple[Value, ...] = ()
    left_out: int = 0

    @property
    def caption(self) -> str:
        """What is not drawn, said once."""
        return f"The best {MOST_GROUPS} of {MOST_GROUPS + self.left_out} are drawn." if self.left_out else ""

    @property
    def title(self) -> str:
        """The hyperparameter, with its arm where it is another one in each (B3)."""
        return f"{self.key}  [{self.where}]" if self.where else self.key

    def place(self, value: Value, trial: int) -> float | None:
        """Where a value of a trial is drawn; None where it cannot be."""
        if self.scale == "choices":
            index = place_of(self.choices, value)
            return None if index is None else round(index + JITTER * ((trial * _GOLDEN) % 1 - 0.5), 3)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        drawn = 1 - value if self.scale == "log_one_minus" else value
        return None if self.scale != "linear" and drawn <= 0 else float(f"{drawn:.6g}")

    def vega_scale(self) -> dict[str, Any]:
        """Vega-Lite's `scale`."""
        if self.scale == "choices":
            return {"domain": [-0.5, len(self.choices) - 0.5], "nice": False, "zero": False}
        ends = [self.low, self.high]
        if self.scale == "log_one_minus":
            ends = [1 - self.high, 1 - self.low]
        return {
            "domain": ends,
            "type": "linear" if self.scale == "linear" else "log",
            "reverse": self.scale == "log_one_minus",
            "nice": False,
            "padding": 8,
            **({"zero": False} if self.scale == "linear" else {}),
        }

    def vega_axis(self) -> dict[str, Any]:
        """Vega-Lite's `axis`."""
        if self.scale == "choices":
            labels = json.dumps([show(value) for value in self.choices])
            return {
                "values": list(range(len(self.choices))),
                "labelExpr": f"{labels}[datum.value]",
                "labelLimit": 110,
                "labelOverlap": True,
                "grid": False,
            }
        if self.scale == "log_one_minus":
            return number_axis("log", 1 - self.high, 1 - self.low) | {"labelExpr": ONE_MINUS}
        return number_axis(self.scale, self.low, self.high)


def axes(tables: Tables, conditions: Mapping[tuple[str, str], str] | None = None) -> list[Axis]:
    """An axis for every hyperparameter that varies, the scientific ones first.

    One that differs between arms gets an axis for each group of arms where it is the same. `conditions` says under
    which condition a hyperparameter exists, by arm and key: under another one it is another hyperparameter (B3).
    """
    found: list[Axis] = []
    rank = {arm: place for place, arm in enumerate(best_first(tables))}
    keys = list(dict.fromkeys(key for space in tables.space.values() for key in space))
    for key in sorted(keys, key=lambda key: key not in tables.scientific):
        groups: dict[tuple[str, str], list[str]] = {}
        for arm in tables.arms:
            if key in tables.space.get(arm, {}):
                condition = (conditions or {}).get((arm, key), "")
                groups.setdefault((condition, repr(tables.space[arm][key])), []).append(arm)
        best = sorted(groups.values(), key=lambda arms: min(map(rank.__getitem__, arms)))[:MOST_GROUPS]
        for (condition, _), arms in groups.items():
            everywhere = len(arms) == len(tables.arms)
            where = "" if everywhere else condition or " or ".join(arms)
            axis = _axis(f"f{len(found)}", key, tuple(arms), where, tables.space[arms[0]][key])
            if axis is not None and arms in best:
                left_out = len(groups) - len(best) if arms is best[0] else 0
                found.append(replace(axis, left_out=left_out))
    return found


def _axis(field: str, key: str, arms: tuple[str, ...], where: str, dimension: Dimension) -> Axis | None:
    if isinstance(dimension, Choice):
        numbers = _numbers(dimension.values)
        if len(numbers) < 3 or numbers[0] == numbers[-1]:
            if len(dimension.values) < 2:
                return None
            return Axis(field, key, arms, where, "choices", 0, 0, dimension.values)
        decades = math.log10(numbers[-1] / numbers[0]) if numbers[0] > 0 else 0
        scale: Literal["linear", "log"] = "log" if decades > LOG_DECADES else "linear"
        return Axis(field, key, arms, where, scale, numbers[0], numbers[-1])
    if isinstance(dimension, Int) and dimension.low == dimension.high:
        return None
    return Axis(field, key, arms, where, dimension.scale, float(dimension.low), float(dimension.high))


def _numbers(values: Sequence[Value]) -> list[float]:
    """The values in order where all of them are numbers; else none."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return []
    return sorted(float(value) for value in values)


def place_of(choices: Sequence[Value], value: Value) -> int | None:
    """The place of a value, None where it is not among them; a table's column may hold it as a text, or as a float."""
    for index, choice in enumerate(choices):
        if choice == value and isinstance(choice, bool) == isinstance(value, bool):
            return index
    texts = [choice if isinstance(choice, str) else json.dumps(choice) for choice in choices]
    return texts.index(value) if value in texts else None


def settings_of(tables: Tables, row: Mapping[str, Any]) -> dict[str, Value]:
    """The hyperparameters that exist in the trial of a row of `tables.trials`."""
    return {key: row[key] for key in tables.space.get(row["arm"], {}) if key in row}
