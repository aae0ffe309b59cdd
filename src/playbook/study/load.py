"""A study read back: what was asked, how each trial ended, and what each recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import polars as pl

from playbook.config import read_config
from playbook.errors import InputError, one_line
from playbook.examples import Examples, ExamplesOfTrials, read_examples
from playbook.run_files import CONFIG, EVALS, EXAMPLES, STEPS, TABLES, read_table
from playbook.study.design import Design, folder_name
from playbook.study.refusals import refuse_foreign_trials, refuse_other_objective
from playbook.study.rungs import objective_curve, reached, step_of_rung
from playbook.study.space import Value
from playbook.study.study_files import STUDY, Outcome, StudyFile, cell, columns, outcomes, read_study

T = TypeVar("T")


def load_record(path: str | Path) -> StudyRecord:
    """The study in the folder `path`, finished or not.

    Raises:
        InputError: the folder holds no study.
    """
    folder = Path(path)
    file = read_study(folder)
    if file is None:
        raise InputError(f"{folder}: there is no study here ({STUDY} is missing)")
    return StudyRecord(folder, file)


@dataclass(frozen=True)
class StudyRecord:
    """The record of a study. The trials' own folders are read, so what it says is as new as they are."""

    path: Path
    file: StudyFile

    @property
    def design(self) -> Design:
        """The goal, the space by role, and what is fixed."""
        return self.file.design

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """How each trial ended that has.

        Raises:
            InputError: a result is damaged, or a folder holds another trial than the design says.
        """
        trials = self.design.trials(self.file.n_trials)
        refuse_foreign_trials(self.path, self.design, trials)
        ended = tuple(outcomes(self.path, trials))
        refuse_other_objective(self.path, self.design.objective, ended)
        return ended

    @cached_property
    def trials(self) -> pl.DataFrame:
        """A row a trial that has ended.

        The columns of `trials.csv`, the hyperparameters in the type of their values; and `final_objective`, `steps`,
        `seconds`, and the `reason` of an infeasible or crashed trial.
        """
        results = [each.result for each in self.outcomes]

        def of_result(field: str, kind: pl.DataType) -> pl.Series:
            return pl.Series(field, [getattr(result, field, None) for result in results], dtype=kind)

        seeds = [each.result.seed if each.result else self.design.seed_of(each.trial) for each in self.outcomes]
        table = {
            "trial": pl.Series([each.trial.number for each in self.outcomes], dtype=pl.Int64()),
            "arm": pl.Series([each.trial.arm for each in self.outcomes], dtype=pl.String()),
            "status": pl.Series([each.status for each in self.outcomes], dtype=pl.String()),
            "objective": of_result("objective", pl.Float64()),
            "best_step": of_result("best_step", pl.Int64()),
            "seed": pl.Series(seeds, dtype=pl.Int64()),
            "objective_se": of_result("objective_se", pl.Float64()),
            "n_examples": of_result("n_examples", pl.Int64()),
            "final_objective": of_result("final_objective", pl.Float64()),
            "steps": of_result("steps", pl.Int64()),
            "seconds": of_result("seconds", pl.Float64()),
            "reason": pl.Series([_reason(each) for each in self.outcomes], dtype=pl.String()),
        }
        settings = [each.trial.settings for each in self.outcomes]
        return pl.DataFrame(table | {key: column([each.get(key) for each in settings]) for key in columns(self.design)})

    def folder(self, trial: int) -> Path:
        """The folder of a trial: that of a run, which `playbook.load_run` reads."""
        return self.path / folder_name(trial)

    def curves(self, metrics: Sequence[str] | None = None) -> pl.DataFrame:
        """`trial, step, metric, value`: every evaluation of every trial that has ended (of these metrics).

        Raises:
            InputError: a file is damaged.
        """
        schema = {"trial": pl.Int64(), "step": pl.Int64(), "metric": pl.String(), "value": pl.Float64()}
        tables = [pl.DataFrame(schema=schema)]
        for each in self.outcomes:
            evals = self._table(each.trial.number, EVALS)
            if metrics is not None:
                evals = evals.filter(pl.col("metric").is_in(list(metrics)))
            tables.append(evals.select(pl.lit(each.trial.number, pl.Int64()).alias("trial"), *TABLES[EVALS]))
        return pl.concat(tables)

    @cached_property
    def rungs(self) -> pl.DataFrame:
        """`trial, arm, status, share, step, reached`: what a trial had reached at each rung that it came to.

        `reached` is null where that is no finite number. Empty where the study has no rungs.
        """
        schema = {"trial": pl.Int64(), "arm": pl.String(), "status": pl.String()}
        schema |= {"share": pl.Float64(), "step": pl.Int64(), "reached": pl.Float64()}
        rows, mode = [], self.design.objective.mode
        for each in self.outcomes if self.file.rungs else ():
            own, number = self.folder(each.trial.number), each.trial.number
            config, curve = read_config(own / CONFIG), objective_curve(own, self.design.objective)
            last = curve["step"].max() if len(curve) else -1
            for share in self.file.rungs:
                step = step_of_rung(config, share)
                at = int(config["warmup_steps"]) + int(config["max_steps"]) if step is None else step
                if isinstance(last, int) and last >= at:
                    rows.append((number, each.trial.arm, each.status, share, at, reached(curve, at, mode)))
        return pl.DataFrame(rows, schema=schema, orient="row")

    def steps(self, trial: int) -> pl.DataFrame:
        """A row a step of a trial: the columns of `steps.csv`.

        Raises:
            InputError: the file is damaged.
        """
        return self._table(trial, STEPS)

    @cached_property
    def examples(self) -> ExamplesOfTrials:
        """What each validation example had to say, of the trials that have ended; each is read when it is asked for."""
        marks = {each.trial.number: (each.result and each.result.tables) or {} for each in self.outcomes}

        def read(trial: int) -> Examples | None:
            return self._read(trial, lambda folder: read_examples(folder, marks[trial].get(EXAMPLES)))

        return ExamplesOfTrials({trial: self.folder(trial) for trial in marks}, read)

    def _table(self, trial: int, name: str) -> pl.DataFrame:
        return self._read(trial, lambda folder: read_table(folder, name))

    def _read(self, trial: int, read: Callable[[Path], T]) -> T:
        folder = self.folder(trial)
        try:
            return read(folder)
        except (OSError, InputError) as error:
            said = one_line(error).partition("; put the file back")[0]
            raise InputError(f"{said}; remove {folder} to have the trial run again") from None


def column(values: Sequence[Value]) -> pl.Series:
    """The values of a hyperparameter, None where it does not exist: in their type if they have one, else as texts."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool}:
        return pl.Series(values, dtype=pl.Boolean())
    if kinds <= {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pl.Series(values, dtype=pl.Int64())
    if kinds <= {int, float}:
        return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64())
    return pl.Series([None if value is None else cell(value) for value in values], dtype=pl.String())


def _reason(outcome: Outcome) -> str | None:
    if outcome.crash is not None:
        return f"{outcome.crash.kind}: {outcome.crash.message}"
    return outcome.result.reason if outcome.result else None
