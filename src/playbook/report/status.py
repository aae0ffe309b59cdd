"""How studies stand, for a terminal or for a program: `scripts/status.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from playbook.study.design import folder_name
from playbook.study.status import StudyStatus, Unfinished, read_status, read_statuses
from playbook.text import duration, number, with_error


def show_status(studies_dir: Path, study_dir: Path | None = None, output: Literal["text", "json"] = "text") -> None:
    """Print how the study in `study_dir` stands, with each trial that is on its way or has died; without one, how each
    study in the folders of `studies_dir` does.

    Raises:
        InputError: there is no such study.
    """
    statuses, troubles = read_statuses(studies_dir) if study_dir is None else ([read_status(study_dir)], [])
    if output == "json":
        print(json.dumps({"studies": [plain(status) for status in statuses], "troubles": troubles}, indent=2))
        return
    console = Console(highlight=False)
    for line in troubles:
        console.print(line, style="red", markup=False, soft_wrap=True)
    if not statuses and not troubles:
        print(f"{studies_dir}: no study yet; python train.py -m study=learning_rate makes one")
    elif study_dir is not None:
        console.print(_one(statuses[0]))
    elif statuses:
        console.print(_all(statuses))


def plain(status: StudyStatus) -> Mapping[str, Any]:
    """The status as plain containers; `seconds_left` is an estimate, null where there is none."""
    best = status.best
    return {
        "study": status.file.design.name,
        "path": str(status.path),
        "goal": status.file.design.goal,
        "state": status.state,
        "trials": status.file.n_trials,
        "done": status.done,
        "complete": status.count("complete"),
        "infeasible": status.count("infeasible"),
        "paused": status.count("paused"),
        "crashed": len(status.died),
        "running": [vars(each) for each in status.running],
        "stopped": [vars(each) for each in status.unfinished if each.state == "stopped"],
        "left": status.file.n_trials - status.done,
        "seconds_left": status.seconds_left,
        "metric": status.file.design.objective.metric,
        "mode": status.file.design.objective.mode,
        "best": None if best is None or best.result is None else best.result.objective,
        "best_trial": None if best is None else best.trial.number,
        "died": [
            {"trial": trial, "kind": crash.kind, "message": crash.message, "attempts": crash.attempts}
            for trial, crash in status.died
        ],
        "command": status.file.command,
    }


def _all(statuses: Sequence[StudyStatus]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("Study", "State", "Done", "Running", "Left", "Infeasible", "Crashed", "Best", "Time left"):
        table.add_column(name, overflow="fold")
    for status in statuses:
        table.add_row(
            Text(status.file.design.name, style="bold"),
            Text(status.state, style="yellow" if status.state == "stopped" else ""),
            f"{status.done}/{status.file.n_trials}",
            str(len(status.running)),
            str(status.file.n_trials - status.done - len(status.running)),
            str(status.count("infeasible")),
            Text(str(len(status.died)), style="red" if status.died else ""),
            _best(status),
            "–" if status.seconds_left is None else duration(status.seconds_left),
        )
    return table


def _one(status: StudyStatus) -> Group:
    lines: list[Table | Text] = [_all([status])]
    if status.file.design.goal:
        lines.append(Text(status.file.design.goal))
    lines += [Text(_on_its_way(each)) for each in status.unfinished]
    for trial, crash in status.died:
        again = f" ({crash.attempts} attempts)" if crash.attempts > 1 else ""
        where = status.path / folder_name(trial)
        lines.append(Text(f"crashed: {where}{again} {crash.kind}: {crash.message}", style="red"))
    if status.state == "stopped":
        lines.append(Text(f"nobody runs it; this goes on: {status.file.command}", overflow="fold"))
    return Group(*lines)


def _on_its_way(each: Unfinished) -> str:
    step = "no evaluation yet" if each.step is None else f"evaluated at step {each.step}"
    return f"trial {each.trial}: {each.state}, {step}, last written {duration(each.quiet_seconds)} ago"


def _best(status: StudyStatus) -> str:
    if status.best is None or status.best.result is None:
        return "–"
    result = status.best.result
    shown = with_error(result.objective, result.objective_se) or number(result.objective)
    return f"{shown} (trial {status.best.trial.number})"
