"""A mirror of a study in Optuna's storage, for its dashboard, its plots and its samplers.

The files of the study are the truth: the mirror is made from them, trial by trial or all at once by `rebuild`, with the
same trials either way. What Optuna has no word for is said in its own:

- A trial has the number that it has here. Below the last one that ended there are no gaps: the others are WAITING.
- An infeasible trial is COMPLETE with the worst value there is and a violated constraint, so that best values, plots
  and importances are those of the feasible ones, and a sampler learns where not to go. A crashed one is FAIL.
- A hyperparameter has the name and the distribution that `optuna_parameters` gives it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from playbook.errors import InputError
from playbook.run_files import CRASHES, EVALS, PAUSED, RESULT, read_table, sync_folder
from playbook.study.design import Design, Trial
from playbook.study.optuna_mirror.database import content, database_url, open_study, shows, sqlite_url, trial_row
from playbook.study.optuna_mirror.parameters import Parameter, parameters
from playbook.study.overrides import trial_overrides
from playbook.study.study_files import DATABASE, STUDY, Outcome, outcomes, read_study

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class OptunaMirror:
    """The mirror of the study in `folder`, open for adding; made where there is none.

    Several processes may add to one at the same time.
    """

    def __init__(self, folder: Path, design: Design, url: str | None = None) -> None:
        """`url` is that of a database; None is the study's own sqlite file.

        Raises:
            InputError: there is no such database, or it has another study of this name.
        """
        self.folder = folder
        self.design = design
        self._storage, self._study_id = open_study(url or database_url(folder), design, folder)
        self._parameters: dict[str, Mapping[str, Parameter]] = {}

    def add(self, ended: Iterable[Outcome]) -> None:
        """Mirror trials that have ended, all of them or, after a crash here, none.

        One that is there already is replaced where it differs, as when a crashed trial was run again.
        """
        self._write({each.trial.number: self._mirrored(each) for each in ended}, and_no_others=False)

    def replace(self, ended: Iterable[Outcome]) -> None:
        """Make these the trials of the mirror, at once for whoever reads it."""
        self._write({each.trial.number: self._mirrored(each) for each in ended}, and_no_others=True)

    def _write(self, trials: Mapping[int, FrozenTrial], *, and_no_others: bool) -> None:
        # 4 ms a trial of 20 evaluations on a disk, 9 with the reading of its files; `create_new_trial` takes 16.
        from optuna.storages._rdb.models import StudyModel, TrialModel
        from sqlalchemy import update
        from sqlalchemy.orm import Session, selectinload

        tables = (
            TrialModel.params,
            TrialModel.values,
            TrialModel.user_attributes,
            TrialModel.system_attributes,
            TrialModel.intermediate_values,
        )
        with Session(self._storage.engine) as session, session.begin():
            # A write comes first, so that from here on the transaction is alone with the study, in any database.
            study = update(StudyModel).where(StudyModel.study_id == self._study_id)
            session.execute(study.values(study_name=self.design.name))
            own: Any = session.query(TrialModel).filter(TrialModel.study_id == self._study_id)
            numbers = {number for (number,) in own.with_entities(TrialModel.number)}
            if and_no_others:
                for row in own.filter(TrialModel.number.not_in(trials)):
                    session.delete(row)
                numbers &= set(trials)
            there = own.filter(TrialModel.number.in_(trials)).options(*map(selectinload, tables))
            old = {row.number: row for row in there}
            waiting = set(range(max(trials, default=0))) - numbers - set(trials)
            for number, trial in sorted([*trials.items(), *self._waiting(waiting).items()]):
                new = trial_row(trial, number, self._study_id)
                if number in old:
                    if content(old[number]) == content(new):
                        continue
                    # Its successor has a larger id, since inserts are flushed first: a reader that keeps
                    # finished trials by their id, as the dashboard does, takes it for a new one.
                    session.delete(old[number])
                session.add(new)

    def _mirrored(self, outcome: Outcome) -> FrozenTrial:
        """What Optuna is told of a trial that has ended."""
        from optuna.trial import TrialState, create_trial

        trial, result, crash = outcome.trial, outcome.result, outcome.crash
        own = self.folder / trial.folder
        about, (params, distributions) = self._about(trial), self._params(trial)
        if outcome.paused is not None:
            mirrored = create_trial(
                state=TrialState.PRUNED,
                params=params,
                distributions=distributions,
                user_attrs=about | {"seed": outcome.paused.seed, "paused_at": outcome.paused.steps},
                intermediate_values=self._curve(own),
            )
            ended = own / PAUSED
        elif result is None:
            assert crash is not None
            mirrored = create_trial(
                state=TrialState.FAIL,
                params=params,
                distributions=distributions,
                user_attrs=about | {"crash": f"{crash.kind}: {crash.message}", "attempts": crash.attempts},
            )
            ended = max(own.glob(CRASHES), key=lambda path: path.stat().st_mtime)
        else:
            infeasible = result.status == "infeasible"
            worst = math.inf if self.design.objective.mode == "min" else -math.inf
            said = {
                "seed": result.seed,
                "best_step": result.best_step,
                "reason": result.reason,
                "reason_step": result.reason_step,
            }
            mirrored = create_trial(
                state=TrialState.COMPLETE,
                value=worst if infeasible else result.objective,
                params=params,
                distributions=distributions,
                user_attrs=about | {key: value for key, value in said.items() if value is not None},
                # The dashboard reads this older spelling only, and GPSampler wants one on every complete trial.
                system_attrs={"constraints": [1.0 if infeasible else -1.0]},
                intermediate_values=self._curve(own),
            )
            ended = own / RESULT
        mirrored.datetime_complete = datetime.fromtimestamp(ended.stat().st_mtime)
        mirrored.datetime_start = mirrored.datetime_complete - timedelta(seconds=result.seconds if result else 0)
        return mirrored

    def _waiting(self, numbers: set[int]) -> dict[int, FrozenTrial]:
        from optuna.trial import TrialState, create_trial

        if not numbers:
            return {}
        trials = self.design.trials(max(numbers) + 1)
        waiting = {}
        for number in numbers:
            params, distributions = self._params(trials[number])
            about = self._about(trials[number])
            waiting[number] = create_trial(
                state=TrialState.WAITING, params=params, distributions=distributions, user_attrs=about
            )
        return waiting

    def _about(self, trial: Trial) -> dict[str, Any]:
        """The attributes that a trial has before it has run."""
        repeats = {key: trial.settings[key] for key in self.design.repeat if key in trial.settings}
        seed = self.design.seed_of(trial)
        words = trial_overrides(self.design, trial.settings)
        return {
            **repeats,
            **({} if seed is None else {"seed": seed}),
            "trial": trial.number,
            "arm": trial.arm,
            "folder": trial.folder,
            "overrides": shlex.join(words),
        }

    def _params(self, trial: Trial) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """The values of a trial's hyperparameters and where they were drawn from, by Optuna's names."""
        if trial.arm not in self._parameters:
            self._parameters[trial.arm] = parameters(self.design, trial)
        found = [each for key, each in self._parameters[trial.arm].items() if key in trial.settings]
        values = {each.name: each.value(trial.settings[each.key]) for each in found}
        return values, {each.name: each.distribution for each in found}

    def _curve(self, own: Path) -> dict[int, float]:
        """The objective's metric by step. It may be NaN or infinite, which Optuna's tables can hold."""
        rows = read_table(own, EVALS).filter(pl.col("metric") == self.design.objective.metric)
        return dict(zip(rows["step"].to_list(), rows["value"].to_list(), strict=True))


def is_current(folder: Path, design: Design, ended: Iterable[Outcome]) -> bool:
    """Whether the study's own database shows the trials that have ended, as far as objectives and settings tell."""
    worst = math.inf if design.objective.mode == "min" else -math.inf
    objectives: dict[int, float | None] = {}
    settings: dict[tuple[int, str], float] = {}
    of_arm: dict[str, Mapping[str, Parameter]] = {}
    for each in ended:
        trial, objective = each.trial, None if each.result is None else each.result.objective
        objectives[trial.number] = worst if each.status == "infeasible" else objective
        if trial.arm not in of_arm:
            of_arm[trial.arm] = parameters(design, trial)
        for key, parameter in of_arm[trial.arm].items():
            if key in trial.settings:
                settings[trial.number, parameter.name] = parameter.stored(trial.settings[key])
    return shows(folder / DATABASE, objectives, settings)


def rebuild(folder: Path, url: str | None = None) -> int:
    """Make the mirror of the study in `folder` again from its files alone; how many of its trials have ended.

    The study's own database is written beside and renamed, so that one that is damaged can be replaced too. In another
    one, which may have other studies in it, the trials are replaced in one transaction.

    Raises:
        InputError: there is no study there, or no such database.
    """
    study = read_study(folder)
    if study is None:
        raise InputError(f"study_dir={folder}: there is no {STUDY}; give the folder of a study: study_dir=<folder>")
    ended = outcomes(folder, study.design.trials(study.n_trials))
    if url is not None:
        OptunaMirror(folder, study.design, url).replace(ended)
        return len(ended)
    database, new = folder / DATABASE, folder / f"{DATABASE}.new"
    _remove(new)
    OptunaMirror(folder, study.design, sqlite_url(new)).replace(ended)
    _remove(database)  # with its journal, which sqlite would otherwise apply to the new one
    new.rename(database)
    sync_folder(folder)
    return len(ended)


def _remove(database: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
