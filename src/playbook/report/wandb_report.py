"""The report of a study in Weights & Biases: one run beside those of its trials, with the findings, charts and page.

It goes where the trials went: to the same project and group, online or offline. W&B is a mirror: its trouble is a line.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from playbook.analysis.rules.best import best
from playbook.errors import one_line
from playbook.report.content import Contents
from playbook.report.freshness import CHARTS, written
from playbook.report.wandb_address import logger_of_trials
from playbook.run_files import WANDB_ID, replace_file
from playbook.study.load import StudyRecord

JOB_TYPE = "report"


def mirror(study: StudyRecord, contents: Contents, page: Path) -> None:
    """Show the report in W&B, if trials of the study are there. `page` and its SVG files have been written."""
    try:
        if (logger := logger_of_trials(study)) is not None:
            _send(study, logger, contents, page)
    except Exception as error:  # nothing that happens to a mirror is the report's
        said = one_line(error) or type(error).__name__
        print(f"warning: W&B does not show this report ({said}); the files are complete", file=sys.stderr)


def _send(study: StudyRecord, logger: Mapping[str, Any], contents: Contents, page: Path) -> None:
    import wandb

    from playbook.loggers.wandb import settings  # where the trials went, so does the report: no torch, but W&B

    folder = Path(logger.get("dir") or study.path)
    known = page.parent / WANDB_ID
    run_id = json.loads(known.read_text(encoding="utf-8"))["id"] if known.exists() else secrets.token_hex(4)
    run = wandb.init(
        project=logger["project"],
        entity=logger.get("entity"),
        tags=logger.get("tags"),
        group=logger.get("group") or study.design.name,
        job_type=JOB_TYPE,
        name=f"{study.design.name} report",
        id=run_id,
        resume="allow",
        dir=str(folder),
        config={"study": study.design.plain(), "n_trials": study.file.n_trials},
        mode=_mode(folder),
        reinit="create_new",
        settings=settings(),
    )
    done = False
    try:
        replace_file(known, json.dumps({"id": run_id}) + "\n")
        failures = [failure for key, make in _logged(contents, page).items() if (failure := _log(run, key, make))]
        run.summary.update({"answer": contents.answer, **_best(contents)})
        if failures:
            raise RuntimeError("; ".join(failures))
        done = True
    finally:
        run.finish(exit_code=0 if done else 1)


def _mode(folder: Path) -> Any:
    """`offline` where all runs of the study are, or W&B cannot be online; None leaves it to W&B."""
    from playbook.loggers.wandb import can_be_online

    runs = [path.name for path in (folder / "wandb").glob("*run-*")]
    if runs and all(name.startswith("offline-run-") for name in runs):
        return "offline"
    return None if "WANDB_MODE" in os.environ or can_be_online() else "offline"


def _log(run: Any, key: str, make: Callable[[], Any]) -> str | None:
    """Log one thing; the line of its trouble, which is none of the others'."""
    try:
        run.log({key: make()})
    except Exception as error:
        return f"{key}: {one_line(error) or type(error).__name__}"
    return None


def _logged(contents: Contents, page: Path) -> dict[str, Callable[[], Any]]:
    """What is logged, by key, each to be made when its turn comes."""
    import wandb

    def table() -> Any:
        columns = ["severity", "code", "rule", "arm", "parameter", "message", "next"]
        rows = [
            [*(finding[name] for name in columns[:-1]), "\n".join(finding["next"])]
            for finding in contents.findings_as_json()
        ]
        return wandb.Table(columns=[*columns], data=rows)

    def chart(path: Path) -> Any:
        return wandb.Html(f'<div style="background:white">{path.read_text(encoding="utf-8")}</div>')

    return {
        "findings": table,
        **{f"charts/{path.stem}": partial(chart, path) for path in written(page.parent, CHARTS)},
        "report": lambda: wandb.Html(page.read_text(encoding="utf-8"), inject=False),
    }


def _best(contents: Contents) -> dict[str, Any]:
    """The winner, of settings that are repeated the mean, and what it would be again, where the noise is known."""
    found = best(contents.tables)
    if found is None:
        return {}
    again = {} if found.expected is None else {"expected": found.expected, "noise_from": found.noise_from}
    return {"objective": found.value, "best_trial": found.trial, "cannot_be_told": len(found.members) - 1, **again}
