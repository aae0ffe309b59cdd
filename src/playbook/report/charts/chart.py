"""A chart of the report: one specification for the page, the SVG file and W&B.

It holds no data but names its data set, so that all charts of the page share one copy of the trials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from playbook.report.charts.palette import INK, theme

Rows = Sequence[Mapping[str, Any]]
LONGEST_NAME = 100
"""Characters of a hyperparameter in a file's name: file systems take 255 in all."""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification with the text that belongs under it.

    `name` is that of its SVG file; `section` says where on the page it stands. `data` has the data sets that are its
    own, by name; it may name others, which charts share: the trials, and the curves. `trials_at` names the columns of
    a trial that are its place in the plane: a brush there selects trials.
    """

    name: str
    title: str
    section: str
    specification: Mapping[str, Any]
    caption: str = ""
    data: Mapping[str, Rows] = field(default_factory=dict)
    trials_at: tuple[str, str] | None = None
    wide: bool = False

    @property
    def datasets(self) -> list[str]:
        """The data sets that it names."""
        return sorted(set(re.findall(r'"data": \{"name": "(\w+)"\}', json.dumps(self.specification))))

    def with_data(self, datasets: Mapping[str, Rows]) -> dict[str, Any]:
        """The specification with its data, for a file, on white."""
        text = json.dumps(self.specification).replace(INK, "#1c2126")
        specification: dict[str, Any] = json.loads(text)
        specification["datasets"] = {name: list(datasets[name]) for name in self.datasets}
        return {
            "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
            "title": self.title,
            **specification,
            "config": theme(dark=False),
        }


def file_name(text: str) -> str:
    """`optimizer.beta1  [optimizer=adam]` as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.=-]+", "_", text)[:LONGEST_NAME].strip("_.") or "unnamed"


def with_names_apart(charts: Iterable[Chart]) -> tuple[Chart, ...]:
    """The charts, where those of one name get a _ each, so that no file takes the place of another."""
    found: dict[str, Chart] = {}
    for each in charts:
        name = each.name
        while name.lower() in found:  # a Mac takes a.svg and A.svg for one file
            name += "_"
        found[name.lower()] = replace(each, name=name)
    return tuple(found.values())
