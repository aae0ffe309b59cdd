"""The registry of studies to look at: a table for the terminal, and one HTML file that needs no network (D4)."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from rich.console import Group
from rich.table import Table
from rich.text import Text

from playbook.study.registry import Entry, Registry

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --dim: #52606d; --line: #d9e2ec; --page: #fff; --raised: #f5f7fa;
  --link: #0b5cad; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --dim: #9aa5b1; --line: #323f4b; --page: #14181d;
  --raised: #1f262e; --link: #7ab8ff; --bad: #ff9b8f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .25rem 0; }
a { color: var(--link); }
.dim { color: var(--dim); }
.bad { color: var(--bad); }
article { border-top: 1px solid var(--line); padding: 1.25rem 0; display: grid; gap: .25rem 2rem;
  grid-template-columns: minmax(0, 1fr) 13rem; }
.best { font-size: 1.5rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.wide { grid-column: 1 / -1; }
code { display: block; color: var(--ink); background: var(--raised); border-radius: 6px; padding: .5rem .75rem;
  margin-top: .25rem; font: 13px/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  user-select: all; }
.notes { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--line); padding-left: .75rem; }
@media (max-width: 40rem) { article { grid-template-columns: minmax(0, 1fr); } }
"""


def registry_listing(registry: Registry) -> Group:
    """The studies for a terminal: each with its goal, how far it is, its best, and the command that runs that again."""
    lines: list[Table | Text] = [_row(Text("Study"), Text("Trials"), Text("Best"), "Created", style="dim")]
    for entry in registry.entries:
        about = Text(entry.name, style="bold").append(f"\n{entry.goal}" if entry.goal else "", style="not bold")
        best = "–" if entry.objective is None else f"{entry.objective:.4g}\n{entry.metric}"
        lines.append(_row(about, Text("\n".join(_counts(entry))), Text(best), entry.created[:10]))
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
    studies = "\n".join(_study(entry, out_dir) for entry in registry.entries) or "<p>No study yet.</p>"
    troubles = "".join(f'<p class="bad">{escape(line)}</p>' for line in registry.troubles)
    count = len(registry.entries)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Studies</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>Studies</h1>
<p class="dim">{count} {"study" if count == 1 else "studies"}, newest first.
Notes are what you write in the notes.md of a study's folder.</p>
{troubles}
</header>
{studies}
</body>
</html>
"""


def _study(entry: Entry, out_dir: Path) -> str:
    best = "–" if entry.objective is None else f"{entry.objective:.4g}"
    links = [
        f'<a href="{escape(_link(path, out_dir))}">{text}</a>'
        for path, text in (
            (entry.report, "report"),
            (entry.config, "config of the best trial"),
            (str(Path(entry.path) / "trials.csv"), "trials"),
            (str(Path(entry.path) / "study.yaml"), "design"),
        )
        if path is not None
    ]
    done, *others = _counts(entry)
    again = f"<code>{escape(entry.command)}</code>" if entry.command else ""
    made = [f"created {entry.created[:16].replace('T', ' ')}"] + ([f"code {entry.code}"] if entry.code else [])
    lines = [
        f"<article><div><h2>{escape(entry.name)}</h2>",
        f"<p>{escape(entry.goal)}</p>" if entry.goal else "",
        f'<p class="dim">{escape(" · ".join([f"{done} trials", *others, *made]))}</p>',
        f"<p>{' · '.join(links)}</p></div>",
        f'<div><div class="best">{best}</div><p class="dim">{escape(_best(entry))}</p></div>',
        f'<div class="wide dim">the best trial again{again}</div>' if again else "",
        f'<p class="wide notes">{escape(entry.notes)}</p>' if entry.notes else "",
        "</article>",
    ]
    return "\n".join(line for line in lines if line)


def _best(entry: Entry) -> str:
    if entry.best_trial is None:
        return f"no complete trial; judged by {entry.metric}"
    return f"{'lowest' if entry.mode == 'min' else 'highest'} {entry.metric}, trial {entry.best_trial}"


def _counts(entry: Entry) -> list[str]:
    """`14 of 16`, then the infeasible and the crashed ones, if any."""
    lines = [f"{entry.complete + entry.infeasible} of {entry.trials}"]
    lines += [f"{entry.infeasible} infeasible"] if entry.infeasible else []
    return lines + ([f"{entry.crashed} crashed"] if entry.crashed else [])


def _link(path: str, out_dir: Path) -> str:
    """The address of a file as seen from the page."""
    return quote(Path(os.path.relpath(path, out_dir)).as_posix())
