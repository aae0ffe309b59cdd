"""What the terminal shows while a study runs and when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from playbook.errors import InputError
from playbook.run_files import CONFIG
from playbook.study.budget import Budget
from playbook.study.design import Trial
from playbook.study.ledger import Ledger
from playbook.study.overrides import shell_line, trial_overrides
from playbook.study.study_files import TRIALS
from playbook.text import number, with_error

POLL_SECONDS = 0.5
WRITE_SECONDS = 3.0
"""How often `trials.csv` follows while trials end."""
LINE_SECONDS = 10.0
"""How often a line is printed where there is no terminal to redraw: a log file, a cluster job."""


class Watch:
    """While it is open, a thread looks at the trials' folders, keeps the ledger, and shows how far the study is.

    It sees trials the same way wherever they run. On the way out the ledger is complete. `quiet` shows nothing.
    `budget_hours` are those of the study, which may end before all of its `total` trials have begun.
    """

    def __init__(
        self,
        ledger: Ledger,
        missing: Sequence[Trial],
        total: int,
        *,
        budget_hours: float | None = None,
        quiet: bool = False,
    ) -> None:
        self._ledger = ledger
        self._missing = missing
        self._total = total
        self._budget_hours = budget_hours
        self._console = Console(stderr=True, quiet=quiet)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="study-watch", daemon=True)

    def __enter__(self) -> Watch:
        self._began = time.monotonic()
        self._ledger.refresh()
        self._ended_before = set(self._ledger.outcomes)
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.quiet:
            self._live = Live(self._view(), console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._ledger.refresh()
            self._ledger.write()
        finally:
            if self._live is not None:
                self._live.stop()

    def _run(self) -> None:
        interval = POLL_SECONDS
        next_line = time.monotonic() + LINE_SECONDS
        next_write = time.monotonic() + WRITE_SECONDS
        news = False
        while not self._stop.wait(interval):
            looked = time.monotonic()
            with suppress(InputError, OSError):  # a trouble that lasts is raised on the way out
                news = bool(self._ledger.refresh()) or news
                if news and looked >= next_write:
                    self._ledger.write()
                    news = False
                    next_write = time.monotonic() + WRITE_SECONDS
            if self._live is not None:
                self._live.update(self._view(), refresh=True)
            elif looked >= next_line:
                self._console.print(
                    " · ".join(f"{name.lower()} {text}" for name, text in self._fields()), highlight=False
                )
                next_line = looked + LINE_SECONDS
            # A look at thousands of folders takes a while: it gets at most a tenth of the time.
            interval = max(POLL_SECONDS, 10 * (time.monotonic() - looked))

    def _view(self) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        fields = self._fields()
        for name, _ in fields:
            table.add_column(name)
        table.add_row(*(Text(text) for _, text in fields))
        view = Table.grid()  # which, unlike a group, ends the line of a bar
        view.add_row(ProgressBar(total=self._total, completed=self._num_ended(), width=60))
        view.add_row(table)
        return view

    def _num_ended(self) -> int:
        return sum(each.result is not None for each in self._ledger.outcomes.values())

    def _fields(self) -> list[tuple[str, str]]:
        ledger = self._ledger
        best = ledger.best
        shown = f"{number(best.result.objective)} (trial {best.trial.number})" if best and best.result else "–"
        running = sum(
            trial.number not in ledger.outcomes and (ledger.folder / trial.folder / CONFIG).exists()
            for trial in self._missing
        )
        fields = [("Done", f"{self._num_ended()}/{self._total}")]
        fields += [("Infeasible", str(ledger.count("infeasible"))), ("Running", str(running))]
        if paused := ledger.count("paused"):
            fields.append(("Paused", str(paused)))
        if crashed := ledger.count("crashed"):
            fields.append(("Crashed", str(crashed)))
        return [*fields, (f"Best {ledger.design.objective.metric}", shown), ("Time left", self._time_left())]

    def _time_left(self) -> str:
        outcomes = list(self._ledger.outcomes.values())
        here = [each for each in outcomes if each.trial.number not in self._ended_before]
        ended = sum(each.result is None or each.result.reused_from is None for each in here)
        left = self._total - self._num_ended() - self._ledger.count("paused")
        if self._budget_hours is not None:
            to_run = [trial for trial in self._missing if trial.number not in self._ledger.outcomes]
            left = min(left, Budget(self._budget_hours, outcomes).num_fitting(to_run) or 0)
        if ended <= 0 or left <= 0:
            return "–"
        seconds = (time.monotonic() - self._began) / ended * left
        return str(timedelta(seconds=round(seconds)))


def summary(ledger: Ledger, total: int, program: str) -> Group:
    """How the study stands, its best trial with the command that runs it again, and where everything is."""
    design, folder = ledger.design, ledger.folder
    ended = sum(each.result is not None for each in ledger.outcomes.values())
    counts = f"{ended} of {total} trials done"
    for status in ("infeasible", "paused", "crashed"):
        if count := ledger.count(status):
            counts += f", {count} {status}"
    lines: list[Text | Table] = [Text(f"{design.name}: {counts}", style="bold")]
    best = ledger.best
    if best is not None and best.result is not None:
        table = Table.grid(padding=(0, 2, 0, 0))
        value = with_error(best.result.objective, best.result.objective_se)
        step = f" at step {best.result.best_step}" if best.result.steps else ""  # a job of another app has none
        table.add_row("best", f"{design.objective.metric} {value}{step}")
        table.add_row("trial", str(folder / best.trial.folder))
        lines.append(table)
        again = "again  " + shell_line("python", program, *trial_overrides(design, best.trial.settings))
        lines.append(Text(again, no_wrap=True, overflow="ignore"))  # a shell would take a broken line for two commands
    for each in ledger.outcomes.values():
        if each.crash is not None:
            again = f"({each.crash.attempts} attempts)" if each.crash.attempts > 1 else ""
            lines.append(
                Text(
                    f"crashed: {folder / each.trial.folder} {again} {each.crash.kind}: {each.crash.message}",
                    style="red",
                )
            )
    lines.append(Text(f"trials: {folder / TRIALS}"))
    return Group(*lines)
