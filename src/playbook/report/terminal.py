"""What a study says in the terminal: the answer, the findings, what to type next; at most a screen."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from playbook.analysis.finding import Finding
from playbook.report.content import Contents
from playbook.report.freshness import PAGE
from playbook.study.design import ONLY_ARM

MOST_LINES = 22
"""Of a screen of 24: the path of the page comes after."""
MOST_NEXT = 2
_STYLES = {"problem": "bold red", "advice": "yellow", "info": "blue"}


def as_text(contents: Contents, width: int = 80) -> str:
    """What `show` prints on a terminal of so many columns."""
    written = io.StringIO()
    show(contents, Console(file=written, width=width))
    return written.getvalue()


def show(contents: Contents, console: Console | None = None) -> None:
    """Print the summary of a report."""
    console = console or Console()
    width = console.width
    head = Text.assemble((contents.name, "bold"), f": {contents.goal}" if contents.goal else "")
    answer = Text(contents.answer)
    commands = _next(contents)
    used = sum(len(each.wrap(console, width)) for each in (head, answer))
    used += sum(math.ceil((len(command) + 2) / width) for command in commands) + (1 if commands else 0)
    said = _findings(contents.findings, console, MOST_LINES - used - 2)
    for each in (head, answer, Text(), *said):
        console.print(each)
    if commands:
        console.print(Text("next", style="dim"))
    for command in commands:  # not broken into lines, so that it can be copied
        console.print(Text(f"  {command}"), soft_wrap=True)


def _next(contents: Contents) -> list[str]:
    """The commands for the gravest findings."""
    gravest = [
        command
        for finding, commands in zip(contents.findings, contents.next, strict=True)
        if finding.severity != "info"
        for command in commands
    ]
    return list(dict.fromkeys(gravest))[:MOST_NEXT]


def _findings(findings: Sequence[Finding], console: Console, room: int) -> list[Table | Text]:
    """The findings that there is room for, the gravest first, and how many more there are."""
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, show_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    shown = 0
    for finding in findings:
        text = _short(finding)
        room -= len(text.wrap(console, max(20, console.width - 10)))
        if finding.severity == "info" or room < 0:
            break
        table.add_row(Text(finding.severity, _STYLES[finding.severity]), text)
        shown += 1
    said: list[Table | Text] = [table] if shown else []
    more = len(findings) - shown
    if not shown and not any(finding.severity != "info" for finding in findings):
        said.append(Text("No problem was found."))
    if more:
        said.append(Text(f"{more} more in {PAGE}" if shown else f"{more} for information in {PAGE}", style="dim"))
    return said


def _short(finding: Finding) -> Text:
    """Its first sentence; the page has the rest."""
    first = finding.message.partition(". ")[0].rstrip(".")
    arm = finding.arm
    return Text(f"{arm}: {first}" if arm and arm != ONLY_ARM and arm not in first else first)
