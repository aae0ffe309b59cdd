"""What is said when a search has ended: whether it found something better, and what to type next (B12)."""

from __future__ import annotations

from pathlib import Path

from playbook.run_files import CONFIG
from playbook.study.design import folder_name
from playbook.study.ledger import Ledger
from playbook.study.load import load_record
from playbook.study.overrides import shell_line
from playbook.text import brief


def ending(folder: Path) -> list[str]:
    """Lines about the search in `folder`; none where nothing trained."""
    record = load_record(folder)
    design, search = record.design, record.design.bayesian
    assert search is not None, "a search"
    ledger = Ledger(folder, design, design.trials(record.file.n_trials), None)
    ledger.refresh()
    own, told = ledger.best, search.best_told(design.objective.mode)
    if own is None or own.result is None or own.result.objective is None:
        return []
    sign = 1 if design.objective.mode == "min" else -1
    found, metric = own.result.objective, design.objective.metric
    here = folder / own.trial.folder
    lines, winner = [], here
    if told is not None and told.objective is not None:
        before = Path(search.start) / folder_name(told.trial)
        if sign * found < sign * told.objective:
            lines.append(f"search: {metric} {brief(found)}, where {search.start} had {brief(told.objective)}")
            if all((each / CONFIG).exists() for each in (here, before)):
                compare = shell_line("python", "scripts/compare.py", f"candidate={here}", f"incumbent={before}")
                lines.append(f"next: is that more than luck? {compare}")
        else:
            lines.append(
                f"search: no trial is better than trial {told.trial} of {search.start}:"
                f" {metric} {brief(told.objective)}"
            )
            winner = before
    if (winner / CONFIG).exists():  # another app's trials have none, and no script to evaluate them
        evaluate = shell_line("python", "scripts/evaluate.py", f"run_dir={winner}")
        lines.append(f"next: when nothing is left to tune, and not before, the test set: {evaluate}")
    return lines
