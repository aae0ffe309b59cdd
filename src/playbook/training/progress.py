"""What the terminal shows while a trial runs and when it is over."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from playbook.run_files import Result
from playbook.text import number, with_error

REDRAW_SECONDS = 0.25
LINE_SECONDS = 10.0
"""How often a line is printed where there is no terminal to redraw: a log file, a cluster job."""


class TrialProgress:
    """A bar with loss, last validation value, examples per second and time left; a line now and then in a log file.

    Nothing is read from the device for it: the loss is that of the steps that have settled.
    """

    def __init__(self, *, total_steps: int, batch_size: int, objective: str, enabled: bool = True) -> None:
        self._console = Console(stderr=True)
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._objective = objective
        self._enabled = enabled
        self._bar: Progress | None = None
        self._value: float | None = None
        self._next_draw = 0.0
        self._interval = REDRAW_SECONDS if self._console.is_terminal else LINE_SECONDS

    def start(self, step: int) -> None:
        """Show the bar at `step`, where the run begins or goes on."""
        self._began, self._first_step = time.monotonic(), step
        self._next_draw = self._began + self._interval
        if self._enabled and self._console.is_terminal:
            columns = (
                TextColumn("step {task.completed}/{task.total}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True, auto_refresh=False)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total_steps, completed=step, numbers="")

    def is_due(self, now: float) -> bool:
        """Whether enough time has passed to show something new; `now` is of `time.monotonic`."""
        return now >= self._next_draw

    def show(self, step: int, loss: float | None) -> None:
        """Redraw the bar, or print a line."""
        now = time.monotonic()
        self._next_draw = now + self._interval
        if not self._enabled:
            return
        rate = (step - self._first_step) * self._batch_size / max(now - self._began, 1e-9)
        value = "" if self._value is None else f"{self._objective} {number(self._value)}  "
        numbers = f"loss {number(loss)}  {value}{rate:,.0f} examples/s"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers, refresh=True)
        else:
            self._console.print(f"step {step}/{self._total_steps}  {numbers}", highlight=False)

    def evaluated(self, value: float) -> None:
        """Take note of the objective's newest value."""
        self._value = value

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


_REMEDIES = {
    "diverged": "warmup_steps, clip_norm, another optimizer, the model's initialisation; a lower lr last (E5 to E8)",
    "out_of_memory": "a smaller batch_size or model; data.in_memory=false where the data is large",
}


def summary(result: Result) -> Table:
    """How the trial ended, as a table."""
    table = Table(show_header=False)
    table.add_column(style="dim")
    table.add_column()
    status = (
        result.status if result.reason is None else f"{result.status}: {result.reason} at step {result.reason_step}"
    )
    rows: list[tuple[str, Any]] = [("status", status)]
    if result.status == "paused":
        rows.append(("next", "the same command without pause_at goes on"))
    if result.reason_message:
        rows.append(("", result.reason_message))
    if result.reason is not None:
        rows.append(("next", _REMEDIES[result.reason]))
    if result.objective is not None:
        best = with_error(result.objective, result.objective_se)
        rows.append((f"best {result.objective_metric}", f"{best} at step {result.best_step}"))
        if result.chance is not None and result.above_chance is not None:
            way = f"the best is {result.above_chance:.1%} of the way from there to perfect"
            rows.append(("chance", f"{number(result.chance)}; {way}"))
        rows.append((f"final {result.objective_metric}", number(result.final_objective)))
    rows.append(("steps", f"{result.steps} in {result.seconds:.1f} s"))
    for label, value in rows:
        table.add_row(label, Text(str(value)))
    # A title of the table would be broken at the table's width; a folder is there to be copied.
    return table
