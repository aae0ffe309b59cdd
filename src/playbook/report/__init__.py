"""What a study says to a person: charts, the page, the terminal; made from tables.

`report(study_dir)` writes the report of a study, `external_report(trials, …)` that of trials from anywhere, and
`plot_run(run)` draws one run. They are imported when they are first used: drawing takes a second of imports.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playbook.report.charts.run_curves import plot_run
    from playbook.report.external import external_report
    from playbook.report.study_report import report

__all__ = ["external_report", "plot_run", "report"]

_HOMES = {
    "external_report": "playbook.report.external",
    "plot_run": "playbook.report.charts.run_curves",
    "report": "playbook.report.study_report",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
