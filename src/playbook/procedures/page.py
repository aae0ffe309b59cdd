"""The page of a procedure: one answer in words, the evidence as pictures, what to type next. It needs no network.

All charts are SVG, so that the page prints whole and runs no script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import vl_convert
from jinja2 import Environment
from markupsafe import Markup

from playbook.errors import InputError
from playbook.report.charts import Chart
from playbook.run_files import replace_file

TEMPLATE = Path(__file__).parent / "page.html"


@dataclass(frozen=True)
class Page:
    """What the page shows: `numbers` are (number, what it is), `table` the head and the rows, `facts` (name, text)."""

    kicker: str
    title: str
    answer: str
    remarks: Sequence[str]
    next: str
    numbers: Sequence[tuple[str, str]]
    charts: Sequence[Chart]
    table: tuple[Sequence[str], Sequence[Sequence[str]]]
    facts: Sequence[tuple[str, str]]
    table_title: str = "Every repeat"


def write_files(texts: Mapping[Path, str], what: str = "it") -> None:
    """Write each text into its file, whole or not at all; folders are made.

    Raises:
        InputError: a folder cannot be written; the line says so of `what`.
    """
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, text)
        except OSError as error:
            said = f"out_dir={path.parent}: {what} cannot be written there ({error.strerror})"
            raise InputError(said) from None


def page_html(page: Page) -> str:
    """The page. Whatever a configuration is called, nothing of it becomes markup: the template escapes."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    charts = [(chart, Markup(vl_convert.vegalite_to_svg(chart.with_data(chart.data)))) for chart in page.charts]
    return template.render(page=page, charts=charts)
