"""One call of a study: opened or begun, compared, made longer, run, finished.

Whoever composes configs and launches processes is a guest here: Hydra's sweeper, from the command line and from Python.
Nothing is written until the design has been compared with the one that the folder holds, and the config of every
missing trial has been checked.

All missing trials are handed to the launcher at once: the sequence does not adapt, so there is no batch to wait for.
A budget of compute hours makes batches, since what trials take is known when they have ended; and so does a study whose
trials are proposed from the results of those before (B12).
What has become of each is then read from its folder and nowhere else, so it does not matter where it ran, and whether
this process was killed in between and started again.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import polars as pl
from rich.console import Console

from playbook.errors import CrashError, InputError
from playbook.lock import locked
from playbook.run_files import RESULT
from playbook.study import reuse
from playbook.study.app import App
from playbook.study.budget import Budget
from playbook.study.config import CommandLine, StudyConfig, design_of
from playbook.study.design import TRIALS_AN_ARM, Design, Objective, Trial
from playbook.study.ledger import Ledger
from playbook.study.overrides import trial_overrides, with_overrides
from playbook.study.plan import Plan
from playbook.study.progress import Watch, summary
from playbook.study.provenance import changed_versions, environment
from playbook.study.refusals import (
    fingerprint,
    next_name,
    refuse_changed_design,
    refuse_foreign_folder,
    refuse_foreign_trials,
    refuse_no_url,
    with_name,
    with_origin,
)
from playbook.study.run_trials import Launch, run_missing, unfinished
from playbook.study.rungs import objective_curve, planned_shares, promoted, reached, said_of_rungs
from playbook.study.same_data import other_data
from playbook.study.space import Value
from playbook.study.study_files import (
    STUDY,
    Outcome,
    StudyFile,
    outcome,
    outcomes,
    read_study,
    write_study,
)

SMALL_STUDY = 50_000
"""Steps of all trials together: what is over in a minute or so is not timed first, which takes seconds itself."""


class Configs(Protocol):
    """The configs of a study's trials."""

    def config(self, settings: Mapping[str, Value]) -> dict[str, Any]:
        """That of the trial with these settings, as plain containers."""


class Composer(Protocol):
    """Who composes configs from overrides: Hydra."""

    def plain(self, overrides: Sequence[str]) -> dict[str, Any]:
        """What the overrides alone give, as plain containers."""

    def with_fixed(self, design: Design) -> Design:
        """The design with what its overrides fix."""

    def configs(self, design: Design) -> Configs:
        """The configs of its trials."""

    def default_name(self, varied: Sequence[str]) -> str:
        """What the name of a study begins with that was given none."""


class Proposer(Protocol):
    """Who proposes trials from what has become of others."""

    def begun(self, design: Design) -> Design:
        """The design with what its search begins with.

        Raises:
            InputError: it cannot begin with that.
        """

    def proposed(self, design: Design, ended: Sequence[Outcome]) -> Design:
        """The design with one more point, or several to be tried at once."""


@dataclass(frozen=True)
class Program:
    """The program whose trials a study runs, and how it was called.

    `script` is what follows `python` (`train.py`), `command` the whole line as it was typed, and `study_key` where its
    command line has the keys of a study. `threads` are those that each of `num_workers` trials at a time has for
    itself; None where nobody knows. `elsewhere`: trials run on other machines than this one.
    """

    app: App
    composer: Composer
    studies_dir: Path
    script: str
    command: str
    checkout: Path
    study_key: str = "study"
    num_workers: int | None = 1
    threads: int | None = None
    elsewhere: bool = False


def open_study(
    program: Program,
    config: StudyConfig,
    given: CommandLine,
    objective: Objective,
    overrides: Sequence[str],
    console: Console | None = None,
    proposer: Proposer | None = None,
) -> StudySession:
    """The study that a block and a command line describe: as its folder has it, made longer where asked, or a new one.

    `overrides` are those that every trial gets. Without a `proposer` its points are those of the quasi-random sequence.
    Nothing has been written.

    Raises:
        InputError: a line for each fault, such as a design that is not that of the study of this name.
    """
    if config.storage:
        refuse_no_url(config.storage)
    there = read_study(program.studies_dir / config.name) if config.name else None
    design = design_of(config, given, objective, None if there is None else there.budget)
    design = program.composer.with_fixed(replace(design, overrides=tuple(overrides)))
    if proposer is not None:
        design = proposer.begun(design)
    if not config.name:
        name = f"{program.composer.default_name(design.parameters)}-{fingerprint(design)}"
        design, there = replace(design, name=name), read_study(program.studies_dir / name)
    folder = program.studies_dir / design.name
    refuse_foreign_folder(folder, there is not None)
    for_machine = program.app.machine_overrides(program.composer.plain(overrides), program.threads)
    if there is not None:
        had = {word.partition("=")[0]: word for word in there.design.overrides}
        for_machine = [had.get(word.partition("=")[0], word) for word in for_machine]
    design = with_overrides(design, for_machine)
    if problems := program.app.refusals(design):
        raise InputError("\n".join(problems))
    here = environment(program.checkout)
    if there is None:
        file = StudyFile(
            design,
            n_trials=config.n_trials or design.default_n_trials,
            budget=config.n_trials or TRIALS_AN_ARM * len(design.arms),  # what `design_of` has taken it for
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=program.command,
            environment=here,
            study_key=program.study_key,
        )
    else:
        name = next_name(design.name, lambda name: (program.studies_dir / name).exists())
        refuse_changed_design(folder, there.design, design, instead=with_name(program.command, program.study_key, name))
        file = _made_longer(there, design, config.n_trials, here)
    rungs, promote = tuple(config.rungs) or file.rungs, config.promote or file.promote
    if rungs and (config.budget_hours or file.budget_hours):
        raise InputError(f"{folder}: it has a budget of hours or study.rungs, not both; name another study")
    if rungs and design.bayesian is not None:
        raise InputError("study.rungs: the trials of hydra/sweeper=bayesian are trained whole; leave it out")
    file = replace(file, budget_hours=config.budget_hours or file.budget_hours, rungs=rungs, promote=promote)
    # What a study does not compare, such as `logger` and `resume`, is as this call has it.
    return StudySession(program, config, folder, file, design.overrides, console or Console(), proposer)


def _made_longer(there: StudyFile, design: Design, n_trials: int | None, here: Mapping[str, Any]) -> StudyFile:
    if len(there.design.listed_trials) >= len(design.listed_trials):
        design = replace(there.design, goal=design.goal or there.design.goal)
    target = max(n_trials or there.n_trials, there.n_trials)
    if design.listed_trials and not n_trials:
        target = len(design.listed_trials)
    caveats = [*there.caveats, *changed_versions(there.environment, here)]
    return replace(there, design=design, n_trials=target, caveats=tuple(dict.fromkeys(caveats)))


class StudySession:
    """A study that has been opened: what is missing, and how it is run.

    `overrides` are those that its trials get in this call; those of `file.design` are the ones that it began with.

    Raises:
        InputError: on creation, where a missing trial's config is refused, or a folder holds another trial.
    """

    def __init__(
        self,
        program: Program,
        config: StudyConfig,
        folder: Path,
        file: StudyFile,
        overrides: Sequence[str],
        console: Console,
        proposer: Proposer | None = None,
    ) -> None:
        self.folder = folder
        self.file = file
        self._app = program.app
        self._config = config
        self._console = console
        self._script = program.script
        self._num_workers = program.num_workers
        self._elsewhere = program.elsewhere
        self._proposer = proposer
        self._design = replace(file.design, overrides=tuple(overrides))
        self._configs = program.composer.configs(self._design)
        trials = file.design.trials(file.n_trials)
        refuse_foreign_trials(folder, file.design, trials)
        self._ledger = Ledger(folder, file.design, trials, config.storage)
        self._ledger.refresh()
        self._trials = trials
        self._pause_at: Mapping[int, int | None] = {}
        self.missing = self._missing()
        self._check()
        self.reused = self._trained_before() if config.reuse else []
        self._ended: dict[int, Outcome] = {}
        self._timed_seconds: float | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to run."""
        return not self.missing and len(self._trials) == self.file.n_trials

    def _missing(self) -> list[Trial]:
        """Those that are to be run now: all without a result, or those of the first rung that has not ended."""
        return next((left for trials, at in self._rungs() if (left := unfinished(self.folder, trials, at))), [])

    def _rungs(self) -> Iterator[tuple[list[Trial], Mapping[int, int | None]]]:
        """The trials of each rung and where they rest; which those are is known when the rung before it has ended.

        A trial that has gone on once stays, also where others would go on now.
        """
        trials, app, objective = list(self._trials), self._app, self.file.design.objective
        for share in self.file.rungs[:-1]:
            at = {trial.number: app.step_of_rung(self.config(trial), share) for trial in trials}
            self._pause_at = at
            yield trials, at
            curves = {trial.number: objective_curve(self.folder / trial.folder, objective) for trial in trials}
            found = {number: reached(curve, at[number], objective.mode) for number, curve in curves.items()}
            better = promoted(trials, found, objective.mode, self.file.promote)
            went_on = {number for number, curve in curves.items() if _is_beyond(curve, at[number])}
            trials = [trial for trial in trials if trial in better or trial.number in went_on]
        self._pause_at = {}
        yield trials, {}

    def _check(self) -> None:
        for trial in self.missing:
            try:
                self._app.check(self.config(trial))
            except InputError as error:
                raise InputError(with_origin(str(error), self._design.space_of(trial.arm))) from None

    def _trained_before(self) -> list[reuse.TrainedBefore]:
        configs = map(self.config, self.missing)
        return reuse.trained_before(self.folder, self.missing, configs, self._app)

    def show_plan(self) -> None:
        """Print what is about to be done."""
        ended = [each.result.seconds for each in self._ledger.outcomes.values() if each.result]
        reused = [each.result.seconds for each in self.reused]
        taken_over = {each.trial.number for each in self.reused}
        to_run = [trial for trial in self._left if trial.number not in taken_over]
        workers = self._num_workers or max(1, len(to_run))
        known = [self._app.num_steps(self.config(trial)) for trial in to_run]
        shares = planned_shares(self.file.rungs, self.file.promote, len(to_run))
        steps = tuple(round(share * num) for num, share in zip(known, shares, strict=True) if num is not None)
        steps = steps if len(steps) == len(known) else ()
        if not ended and not reused and not self._console.quiet:
            self._timed_seconds = self._time_first(to_run, steps)
        hours = self.file.budget_hours
        plan = Plan(
            self.file.design,
            self.file.n_trials,
            (*ended, *reused),
            workers,
            steps=steps,
            timed_seconds=self._timed_seconds,
            budget="" if hours is None else Budget(hours, self._outcomes(), self._timed_seconds).said(to_run),
            rungs=said_of_rungs(self.file.rungs, self.file.promote),
        )
        self._console.print(plan)
        if self.reused:
            self._console.print(reuse.sentence(self.reused, self.file.n_trials), soft_wrap=True, highlight=False)

    @property
    def _left(self) -> list[Trial]:
        """The trials that have no result, with stand-ins for those that nobody has proposed yet."""
        return [*self.missing, *self.file.design.unknown_trials(self.file.n_trials)]

    def _time_first(self, trials: Sequence[Trial], steps: Sequence[int]) -> float | None:
        """What a trial takes on average, of `trials` that have so many `steps`; None where it is not measured.

        Elsewhere, trials run on another machine, and `SMALL_STUDY` is only timed where the plan is all that is asked.
        """
        if self._elsewhere or not steps or (sum(steps) <= SMALL_STUDY and not self._config.dry_run):
            return None
        with self._console.status("timing a few steps of the first trial"):
            seconds = self._app.seconds_of_trial(self.config(trials[0]))
        return None if seconds is None else seconds * fmean(steps) / steps[0]

    def _outcomes(self) -> list[Outcome]:
        """Those of the trials that have a result now: what a budget counts. The ledger is another thread's here."""
        for trial in self._trials:
            own = self.folder / trial.folder
            if trial.number not in self._ended and (own / RESULT).exists() and (ended := outcome(self.folder, trial)):
                self._ended[trial.number] = ended
        return list(self._ended.values())

    def config(self, trial: Trial) -> dict[str, Any]:
        """The config of a trial, as plain containers."""
        return self._configs.config(trial.settings)

    def overrides(self, trial: Trial) -> list[str]:
        """What the trial is composed from, with where it records itself."""
        recording = self._app.recording_overrides(self.config(trial), self.folder, trial)
        step = self._pause_at.get(trial.number)
        pause = [] if step is None else self._app.pause_overrides(step)
        return [*trial_overrides(self._design, trial.settings), *recording, *pause]

    def run(self, launch: Launch, *, progress: bool = True) -> None:
        """Run what is missing; `progress`: show how far it is.

        Raises:
            InputError: another process runs this study, or every trial was refused for the same reason, and a new
                study has been removed again.
            CrashError: the disk gave up, or the launcher, before any trial ended.
        """
        if self.is_whole:
            return
        new = not (self.folder / STUDY).exists()
        new_parents = [path for path in self.folder.parents if not path.exists()]
        with _on_disk(self.folder), locked(self.folder, f"{self.folder}: another sweep of this study is running"):
            if (there := read_study(self.folder)) is not None:  # another sweep may have made it longer in the meantime
                self.file = replace(self.file, n_trials=max(self.file.n_trials, there.n_trials))
                if there.design.bayesian is not None:  # and proposed more
                    self._go_on(there.design)
            write_study(self.folder, self.file)
            if self.file.budget_hours is None:
                self._take_over(self.file.n_trials)
            self.missing = missing = self._trials if self.file.rungs else unfinished(self.folder, self.missing)
            try:
                hours = self.file.budget_hours
                with Watch(self._ledger, missing, self.file.n_trials, budget_hours=hours, quiet=not progress):
                    for trials, at in self._rungs() if self.file.rungs else [(missing, {})]:
                        run_missing(
                            self.folder,
                            trials,
                            self._kept(launch),
                            retries=self._config.retries,
                            choose=self._next,
                            pause_at=at,
                        )
            except (KeyboardInterrupt, SystemExit):
                left = len(self._missing() if self.file.rungs else unfinished(self.folder, self._left))
                print(f"stopped with {left} trials left; the same command goes on", file=sys.stderr)
                raise
            if new and (line := self._refused_alike()):
                shutil.rmtree(self.folder)
                with suppress(OSError):  # another study has begun in one of them
                    for path in new_parents:
                        path.rmdir()
                raise InputError(line)

    def _take_over(self, until: int) -> None:
        """Take over the trials up to the number `until` that were trained before."""
        for each in self.reused:
            if each.trial.number < until and not (self.folder / each.trial.folder / RESULT).exists():
                each.take_over(self.folder)

    def _next(self, left: Sequence[Trial]) -> Sequence[Trial]:
        """The trials to start now: of those that are `left`, else those that are proposed."""
        return self._affordable(left or self._propose())

    def _propose(self) -> Sequence[Trial]:
        """The next trials of a study that has a model, on the disk before one is trained: a kill changes none."""
        if self._proposer is None or len(self._trials) == self.file.n_trials:
            return []
        ended = outcomes(self.folder, self._trials)
        new = self._go_on(self._proposer.proposed(self.file.design, ended))
        write_study(self.folder, self.file)
        return new

    def _go_on(self, design: Design) -> Sequence[Trial]:
        """Take in the trials that this design has more; those."""
        self.file = replace(self.file, design=design)
        new = design.trials(self.file.n_trials)[len(self._trials) :]
        self._trials.extend(new)  # which the ledger reads
        self.missing.extend(new)  # and whoever watches and runs these
        return new

    def _affordable(self, left: Sequence[Trial]) -> Sequence[Trial]:
        """Those of the trials that are `left` that are started now: all of them, or what the budget lets in.

        In their order, also those that cost nothing: wherever the budget ends, arms differ by at most one trial (B3).
        """
        if self.file.budget_hours is None:
            return left
        taken_over = {each.trial.number for each in self.reused}
        to_run = [trial for trial in left if trial.number not in taken_over]
        budget = Budget(self.file.budget_hours, self._outcomes(), self._timed_seconds)
        started = budget.next_trials(to_run, self._num_workers)
        last = started[-1].number if started else to_run[0].number if to_run else self.file.n_trials
        self._take_over(last)
        return started

    def _kept(self, launch: Launch) -> Launch:
        """The launch, after which the study is there even if somebody has removed its folder in the meantime."""

        def launch_and_look(trials: Sequence[Trial]) -> Sequence[BaseException | None]:
            ends = launch(trials)
            if not (self.folder / STUDY).exists():
                print(f"warning: {self.folder} was removed while the study ran; its trials run again", file=sys.stderr)
                write_study(self.folder, self.file)
            return ends

        return launch_and_look

    def _refused_alike(self) -> str | None:
        """What was said, where every trial was refused for the same reason: bad input, and not a study."""
        crashes = [each.crash for each in self._ledger.outcomes.values() if each.crash is not None]
        said = {crash.message for crash in crashes if crash.kind == InputError.__name__}
        return said.pop() if len(crashes) == self.file.n_trials and len(said) == 1 else None

    def _used_up(self) -> str | None:
        """What is said where the budget is the reason that trials have not begun."""
        if self.file.budget_hours is None:
            return None
        taken_over = {each.trial.number for each in self.reused}
        left = [each for each in self._left if each.number not in {*self._ledger.outcomes, *taken_over}]
        budget = Budget(self.file.budget_hours, self._outcomes(), self._timed_seconds)
        return budget.used_up(left, self.file.n_trials, self.file.study_key)

    def finish(self, *, report: bool = True) -> float | None:
        """Bring the tables up to date, say how the study stands, and let the program say more; the best objective.

        Raises:
            CrashError: trials crashed, or what was found could not be said. What is done is recorded.
        """
        with _on_disk(self.folder):
            if not self._ledger.is_written():
                self._ledger.write()
        self._console.print(summary(self._ledger, self.file.n_trials, self._script), crop=False)
        if line := self._used_up():
            self._console.print(line, soft_wrap=True, highlight=False)
        if line := other_data(self._ledger.outcomes.values()):
            self._console.print(line, style="yellow", soft_wrap=True, highlight=False)
        troubles = []
        if crashed := self._ledger.count("crashed"):
            troubles.append(
                f"{self.folder}: {crashed} of {self.file.n_trials} trials crashed, with their tracebacks in"
                " crash_<n>.txt of their folders; the same command runs them again"
            )
        try:
            if report:
                self._app.on_end(self.folder, self._console)
        except CrashError as error:
            troubles.append(str(error))
        if troubles:
            raise CrashError("\n".join(troubles))
        best = self._ledger.best
        return best.result.objective if best is not None and best.result is not None else None


def _is_beyond(curve: pl.DataFrame, step: int | None) -> bool:
    """Whether a trial has been evaluated after a step."""
    return step is not None and len(curve) > 0 and bool((curve["step"] > step).any())


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"{folder}: it cannot be written ({error}); what is there is kept, and the same command goes on"
        raise CrashError(said) from error
