"""What is known of a study while it runs, and the tables that show it to others: `trials.csv` and Optuna's storage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from playbook.errors import InputError, one_line
from playbook.study.design import Design, Trial
from playbook.study.ranking import ranked, setting_keys
from playbook.study.study_files import TRIALS, Outcome, outcome, trials_text, write_trials

if TYPE_CHECKING:
    from playbook.study.optuna_mirror.mirror import OptunaMirror


class Ledger:
    """The outcomes of a study's trials, read from their folders and kept up to date.

    `storage` is the URL of Optuna's, None for a database in the folder; a trouble there is said once and is not the
    study's.
    """

    def __init__(self, folder: Path, design: Design, trials: Sequence[Trial], storage: str | None) -> None:
        self.folder = folder
        self.design = design
        self.outcomes: dict[int, Outcome] = {}
        self._trials = trials
        self._storage = storage
        self._store: OptunaMirror | None = None
        self._store_is_lost = False
        self._mirrored: dict[int, Outcome] = {}

    def refresh(self) -> list[Outcome]:
        """Look for trials that have ended since the last look; those, in the order of their numbers."""
        found = []
        for trial in self._trials:
            known = self.outcomes.get(trial.number)
            if known is not None and known.result is not None:
                continue
            if (now := outcome(self.folder, trial)) is not None and now != known:
                self.outcomes[trial.number] = now
                found.append(now)
        return found

    def write(self) -> None:
        """Bring `trials.csv` and Optuna's storage to what is known."""
        ended = self._ended()
        self._mirror(ended)  # first: whoever finds the table up to date takes the mirror to be so too
        write_trials(self.folder, self.design, ended)

    def is_written(self) -> bool:
        """Whether the tables say what is known: a sweep that is killed as its last trial ends has no time for it."""
        if not self._is_mirrored():
            return False
        path = self.folder / TRIALS
        text = path.read_bytes() if path.exists() else b""
        return text == trials_text(self.design, self._ended()).encode()

    def _is_mirrored(self) -> bool:
        if self._storage is not None or find_spec("optuna") is None:
            return True
        from playbook.study.optuna_mirror.mirror import is_current

        return is_current(self.folder, self.design, self._ended())

    def _ended(self) -> list[Outcome]:
        return [self.outcomes[trial.number] for trial in self._trials if trial.number in self.outcomes]

    @property
    def best(self) -> Outcome | None:
        """The trial that ranks first: of the best setting, where settings are repeated."""
        ended = [each for each in self._ended() if each.status != "paused"]
        keys = setting_keys(self.design.parameters, self.design.repeat)
        objectives = [each.result.objective if each.result else None for each in ended]
        settings = [repr({key: each.trial.settings.get(key) for key in keys}) for each in ended]
        table = pl.DataFrame(
            {
                "trial": pl.Series([each.trial.number for each in ended], dtype=pl.Int64()),
                "arm": pl.Series([each.trial.arm for each in ended], dtype=pl.String()),
                "status": pl.Series([each.status for each in ended], dtype=pl.String()),
                "objective": pl.Series(objectives, dtype=pl.Float64()),
                "setting": pl.Series(settings, dtype=pl.String()),
            }
        )
        first = ranked(table, self.design.objective, ["setting"]).head(1)
        return self.outcomes[first["trial"].item()] if len(first) else None

    def count(self, status: str) -> int:
        """How many trials ended so."""
        return sum(each.status == status for each in self.outcomes.values())

    def _mirror(self, ended: Sequence[Outcome]) -> None:
        if self._store_is_lost:
            return
        news = [each for each in ended if self._mirrored.get(each.trial.number) is not each]
        try:
            if self._store is None:
                from playbook.study.optuna_mirror.mirror import OptunaMirror, rebuild  # a tenth of a second of imports

                try:
                    self._store = OptunaMirror(self.folder, self.design, self._storage)
                except InputError:
                    if self._storage is not None:
                        raise
                    rebuild(self.folder)  # from the files, which are the truth
                    self._store = OptunaMirror(self.folder, self.design)
            self._store.add(news)
            self._mirrored |= {each.trial.number: each for each in news}
        except Exception as error:
            said = one_line(f"{type(error).__name__}: {error}")
            print(
                f"warning: Optuna's storage shows no more of this study ({said}); the files are whole", file=sys.stderr
            )
            self._store_is_lost = True
