"""The registry of studies to look at: a table for the terminal, and one HTML file that needs no network (D4)."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from playbook.errors import InputError
from playbook.run_files import replace_file
from playbook.study.registry import Entry, Registry, read_registry
from playbook.study.study_files import STUDY, TRIALS
from playbook.text import count, number

TEMPLATE = Path(__file__).parent / "page" / "registry.html"


def list_studies(studies_dir: Path, out_dir: Path | None = None) -> None:
    """Print every study in the folders of `studies_dir`, and write `registry.csv` and `registry.html` into `out_dir`,
    the folder above it unless given.

    Raises:
        InputError: the files cannot be written.
    """
    out_dir = out_dir or studies_dir.parent
    registry, console = read_registry(studies_dir), Console(highlight=False, soft_wrap=True)
    for line in registry.troubles:
        console.print(line, style="red", markup=False)
    if not registry.entries:
        print(f"{studies_dir}: no study yet; python train.py -m study=learning_rate makes one")
        return
    console.print(registry_listing(registry), soft_wrap=False)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        replace_file(out_dir / "registry.csv", registry.table.write_csv())
        replace_file(out_dir / "registry.html", registry_page(registry, out_dir))
    except OSError as error:
        raise InputError(f"out_dir={out_dir}: the registry cannot be written there ({error.strerror})") from None
    print(out_dir / "registry.html")


def registry_listing(registry: Registry) -> Group:
    """The studies for a terminal: each with its goal, how far it is, its best, and the command that runs that again."""
    lines: list[Table | Text] = [_row(Text("Study"), Text("Trials"), Text("Best"), "Created", style="dim")]
    for entry in registry.entries:
        about = Text(entry.name, style="bold").append(f"\n{entry.goal}" if entry.goal else "", style="not bold")
        best = number(entry.objective) + ("" if entry.objective is None else f"\n{entry.metric}")
        lines.append(_row(about, Text("\n".join(_counts(entry))), Text(best), entry.created[:10]))
        if again := _again(entry):
            lines.append(Text(f"{again[0].upper()}{again[1:]}", style="dim", overflow="fold"))
        if entry.follows:
            lines.append(Text(f"the next round of {entry.follows}", overflow="fold"))
        if entry.verdict:
            lines.append(Text(entry.verdict.partition(". ")[0], overflow="fold"))  # the page has the rest
        if entry.adopted is not None:
            lines.append(Text(f"adopted: {entry.adopted}", style="bold", overflow="fold"))
        # Across the columns, so that it can be copied.
        lines.append(Text(f"{entry.command}\n" if entry.command else "", style="dim", overflow="fold"))
    return Group(*lines)


def _row(about: Text, counts: Text, best: Text, created: str, style: str = "") -> Table:
    """Widths that do not depend on what is in the row, so that the rows of all studies line up."""
    row = Table.grid(expand=True, padding=(0, 2, 0, 0))
    row.add_column(ratio=1, overflow="fold")
    row.add_column(width=13, overflow="fold")
    row.add_column(width=13, overflow="fold")
    row.add_column(width=10)
    row.add_row(about, counts, best, Text(created), style=style)
    return row


def registry_page(registry: Registry, out_dir: Path) -> str:
    """The page as it stands in `out_dir`, from where its links lead to the studies."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        entries=registry.entries,
        troubles=registry.troubles,
        about=_about,
        judged_by=_judged_by,
        again=_again,
        links=lambda entry: [(_link(path, out_dir), text) for path, text in _files(entry) if path is not None],
        number=number,
    )


def _about(entry: Entry) -> list[str]:
    done, *others = _counts(entry)
    made = [f"created {entry.created[:16].replace('T', ' ')}"] + ([f"code {entry.code}"] if entry.code else [])
    return [f"{done} trials", *others, *made]


def _files(entry: Entry) -> list[tuple[str | None, str]]:
    folder = Path(entry.path)
    config = (entry.config, "config of the best trial")
    return [(entry.report, "report"), config, (str(folder / TRIALS), "trials"), (str(folder / STUDY), "design")]


def _judged_by(entry: Entry) -> str:
    if entry.best_trial is None:
        return f"no complete trial; judged by {entry.metric}"
    return f"{'lowest' if entry.mode == 'min' else 'highest'} {entry.metric}, trial {entry.best_trial}"


def _again(entry: Entry) -> str:
    """What the best would have if it were trained again, and how many cannot be told from it; empty where unknown."""
    if entry.expected is None or entry.low is None or entry.high is None or entry.alike is None:
        return ""
    again = f"trained again about {number(entry.expected)} ({number(entry.low)} to {number(entry.high)}, 95 %)"
    return f"{again}; {count(entry.alike, 'other')} cannot be told from it" if entry.alike else again


def _counts(entry: Entry) -> list[str]:
    """`14 of 16`, then the infeasible and the crashed ones, if any."""
    lines = [f"{entry.complete + entry.infeasible} of {entry.trials}"]
    lines += [f"{entry.infeasible} infeasible"] if entry.infeasible else []
    return lines + ([f"{entry.crashed} crashed"] if entry.crashed else [])


def _link(path: str, out_dir: Path) -> str:
    """The address of a file as seen from the page."""
    return quote(Path(os.path.relpath(path, out_dir)).as_posix())
