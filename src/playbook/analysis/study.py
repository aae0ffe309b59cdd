"""A study with what its tables say: what `playbook.load_study` gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from playbook.analysis.finding import Finding
from playbook.analysis.metrics import direction
from playbook.analysis.rejudge import By, rejudge
from playbook.analysis.rules import find_all
from playbook.analysis.tables import Tables, tables_of
from playbook.study.load import StudyRecord, load_record


def load_study(path: str | Path) -> Study:
    """The study in the folder `path`, finished or not.

    Raises:
        InputError: the folder holds no study.
    """
    record = load_record(path)
    return Study(record.path, record.file)


@dataclass(frozen=True)
class Study(StudyRecord):
    """A study, and the questions that the playbook asks of one."""

    def tables(self, metric: str | None = None, mode: Literal["min", "max"] | None = None, by: By = "best") -> Tables:
        """What the analysis reads: trials, curves, the steps of the best trials, the space.

        The trials are judged by the study's objective unless another `metric` of theirs is named (with its `mode`
        where the name does not say which is better), and by its best value unless `by="final"`.

        Raises:
            InputError: no trial has a curve of the metric, or its direction is not known.
        """
        own = self.design.objective
        tables = tables_of(self, metric)
        if metric in (None, own.metric) and mode in (None, own.mode) and by == "best":
            return tables
        metric = metric or own.metric
        return rejudge(tables, metric, mode or (own.mode if metric == own.metric else direction(metric)), by=by)

    def findings(
        self, metric: str | None = None, mode: Literal["min", "max"] | None = None, by: By = "best"
    ) -> list[Finding]:
        """What stands out in `tables(…)`: problems, then advice, then information; as in `findings.json`."""
        return find_all(self.tables(metric, mode, by))
