"""Makes Optuna's mirror of a study again: `python scripts/rebuild_store.py study_dir=outputs/studies/<study>`."""

import shlex
from pathlib import Path

from omegaconf import DictConfig

from playbook.cli import script
from playbook.errors import InputError


@script("rebuild_store")
def main(cfg: DictConfig) -> None:
    """Writes the trials of a study, as its files tell them, into its optuna.db or another database."""
    folder, storage = Path(str(cfg.study_dir)), cfg.storage
    from playbook.lock import locked
    from playbook.study.optuna_mirror.database import database_url, shown_url
    from playbook.study.optuna_mirror.mirror import rebuild

    if not folder.is_dir():
        raise InputError(f"study_dir={folder}: there is no such folder; give that of a study")
    with locked(folder, f"study_dir={folder}: the study is running, and its store follows it"):
        num_trials = rebuild(folder, storage)
    url = shown_url(storage or database_url(folder))
    print(f"{num_trials} trials; to look at them: optuna-dashboard {shlex.quote(url)}")


if __name__ == "__main__":
    main()
