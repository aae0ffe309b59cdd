"""The sweep: Hydra's words in, a study out.

What a study is stands in `playbook.study`; this file knows Hydra. Nothing is written until every word has been
understood, the design has been compared with the one that the folder holds, and the config of every missing trial has
been checked.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console

from hydra_plugins.quasi_random_sweeper._composer import Composer, Compositions
from hydra_plugins.quasi_random_sweeper._launchers import launch, parallelism
from hydra_plugins.quasi_random_sweeper._outcome_callback import Recorder
from hydra_plugins.quasi_random_sweeper._refusals import (
    fingerprint,
    refuse_changed_design,
    refuse_foreign_folder,
    refuse_interpolation,
    refuse_no_url,
    refused_alike,
    with_origin,
)
from playbook.config import flatten
from playbook.errors import CrashError, InputError, one_line
from playbook.lock import locked
from playbook.study.advice import refusals
from playbook.study.app import App
from playbook.study.config import CommandLine, design_of, read_study_config
from playbook.study.design import TRIALS_AN_ARM, Design, Objective, Trial
from playbook.study.ledger import Ledger
from playbook.study.overrides import as_override, dimension_of, trial_overrides
from playbook.study.plan import Plan
from playbook.study.progress import Watch, summary
from playbook.study.provenance import environment
from playbook.study.session import run_missing, unfinished
from playbook.study.space import Dimension, Value
from playbook.study.study_files import STUDY, StudyFile, read_study, write_study
from playbook.validation import show

__all__ = ["StudySweep"]


class StudySweep:
    """One call of the sweeper."""

    def __init__(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        study: Any,
        studies_dir: str,
        objective: Any,
    ) -> None:
        self._context = hydra_context
        self._task_function = task_function
        self._master = config
        self._block = read_study_config(_container(study))
        self._studies_dir = Path(studies_dir)
        self._objective = _objective(_container(objective))
        self._app = _app(self._block.app)
        self._parallelism = parallelism(config.hydra.launcher)
        self._console = Console()
        self._composer = Composer(hydra_context.config_loader, config, self._app)

    def run(self, arguments: list[str]) -> float | None:
        """Design, compare, check, show the plan, run what is missing; the best objective.

        Raises:
            InputError: a line for each fault. Nothing has been written.
            CrashError: trials crashed; the others are done and recorded.
        """
        words, sweeps = self._read(arguments)
        if self._block.storage:
            refuse_no_url(self._block.storage)
        base = self._composer.compose(words)
        given = CommandLine(sweeps, _keys_of(words), _settings(base))
        study, folder = self._study(words, given, base)
        design = study.design
        trials = design.trials(study.n_trials)
        ledger = Ledger(folder, design, trials, self._block.storage)
        ledger.refresh()
        done = [each.result.seconds for each in ledger.outcomes.values() if each.result]
        missing = unfinished(folder, trials)
        compositions = self._composer.compositions(design)
        for trial in missing:
            try:
                self._app.check(compositions.config(trial.settings))
            except InputError as error:
                raise InputError(with_origin(str(error), design.space_of(trial.arm))) from None
        if missing or self._block.dry_run:
            self._console.print(Plan(design, study.n_trials, tuple(done), self._parallelism.workers or len(missing)))
        if self._block.dry_run:
            return None
        if missing:
            self._run_missing(study, folder, missing, ledger, compositions)
        with _on_disk(folder):
            if not ledger.is_written():
                ledger.write()
        self._console.print(summary(ledger, study.n_trials, _program()), crop=False)
        for line in self._app.finish(folder):
            self._console.print(line, soft_wrap=True, highlight=False)
        if crashed := ledger.count("crashed"):
            raise CrashError(
                f"{folder}: {crashed} of {study.n_trials} trials crashed, with their tracebacks in crash_<n>.txt of"
                " their folders; the same command runs them again"
            )
        best = ledger.best
        return best.result.objective if best is not None and best.result is not None else None

    def _read(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Dimension]]:
        """The words that every trial gets, and the keys that are swept; of two words for a key the later one counts."""
        words: list[str] = []
        sweeps: dict[str, Dimension] = {}
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        for override in parser.parse_overrides(list(arguments)):
            key = _key(override)
            of_the_study = key.partition(".")[0] == self._app.study_key
            sweeps.pop(key, None)
            if override.is_sweep_override():
                if of_the_study:
                    raise InputError(
                        f"{str(override.input_line).lstrip('+')}: a study has one value; sweep a trial's keys"
                    )
                swept = dimension_of(override)
                refuse_interpolation(str(override.input_line), swept)
                if override.is_add() or override.is_force_add():  # `+key=1,2`: each trial then sets what is there
                    words.append(f"{override.get_key_element()}={_value_text(key, swept)}")
                sweeps[key] = swept
            elif not of_the_study:
                words.append(str(override.input_line))
        return words, sweeps

    def _study(self, words: Sequence[str], given: CommandLine, base: DictConfig) -> tuple[StudyFile, Path]:
        """The study as its folder has it, made longer where that is asked for; or the new one."""
        block = self._block
        there = read_study(self._folder(block.name)) if block.name else None
        design = design_of(block, given, self._objective, None if there is None else there.budget)
        design = self._composer.with_fixed(replace(design, overrides=tuple(words)))
        if not block.name:
            title = self._app.title(self._master, design.parameters)
            design = replace(design, name=f"{title}-{fingerprint(design)}")
            there = read_study(self._folder(design.name))
        folder = self._folder(design.name)
        refuse_foreign_folder(folder, there)
        settled = self._app.settled(self._app.composed(base), self._parallelism.cpus_per_trial)
        if there is not None:
            had = {word.partition("=")[0]: word for word in there.design.overrides}
            settled = [had.get(word.partition("=")[0], word) for word in settled]
        design = _with_words(design, settled)
        if problems := refusals(design):
            raise InputError("\n".join(problems))
        here = environment(Path(sys.argv[0]).resolve().parent)
        if there is None:
            n_trials = block.n_trials or design.default_n_trials
            made = datetime.now(UTC).isoformat(timespec="seconds")
            command = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", f"python {_program()} {shlex.join(sys.argv[1:])}")
            budget = block.n_trials or TRIALS_AN_ARM * len(design.arms)  # what `design_of` has taken it for
            return StudyFile(design, n_trials, budget, made, command, here), folder
        refuse_changed_design(folder, there.design, design)
        if len(there.design.listed_trials) >= len(design.listed_trials):
            design = replace(there.design, goal=design.goal or there.design.goal)
        caveats = [*there.caveats, *_changed_versions(there.environment, here)]
        n_trials = max(block.n_trials or there.n_trials, there.n_trials)
        if design.listed_trials and not block.n_trials:
            n_trials = len(design.listed_trials)
        return replace(there, design=design, n_trials=n_trials, caveats=tuple(dict.fromkeys(caveats))), folder

    def _folder(self, name: str) -> Path:
        folder = self._studies_dir / name
        # A job that changes the directory would otherwise move the study under the eyes of whoever watches it.
        return folder.absolute() if self._master.hydra.job.chdir else folder

    def _run_missing(
        self, study: StudyFile, folder: Path, missing: Sequence[Trial], ledger: Ledger, compositions: Compositions
    ) -> None:
        new = not (folder / STUDY).exists()
        new_parents = [path for path in folder.parents if not path.exists()]
        with _on_disk(folder), locked(folder, f"{folder}: another sweep of this study is running"):
            if (there := read_study(folder)) is not None:  # another sweep may have made it longer in the meantime
                study = replace(study, n_trials=max(study.n_trials, there.n_trials))
            write_study(folder, study)
            with open_dict(self._master.hydra):
                self._master.hydra.sweep.dir = str(folder)
            # A worker keeps its devices for life, so it claims as many as the largest trial wants.
            devices = max(self._app.num_devices(compositions.config(trial.settings)) for trial in missing)
            recorder = Recorder(study.design.objective, devices if self._parallelism.shared_devices else 0)
            self._context.callbacks.callbacks.append(recorder)
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=self._context, task_function=self._task_function, config=self._master
            )

            def launch_trials(trials: Sequence[Trial]) -> list[BaseException | None]:
                jobs = [self._job_words(study.design, trial, folder, compositions) for trial in trials]
                return [_exception(end) for end in launch(launcher, jobs, trials[0].number)]

            try:
                with Watch(ledger, missing, study.n_trials):
                    run_missing(folder, missing, launch_trials, retries=self._block.retries)
            except (KeyboardInterrupt, SystemExit):
                left = len(unfinished(folder, missing))
                print(f"stopped with {left} trials left; the same command goes on", file=sys.stderr)
                raise
            if new and (line := refused_alike(ledger, study.n_trials)):
                shutil.rmtree(folder)
                with suppress(OSError):  # another study has begun in one of them
                    for path in new_parents:
                        path.rmdir()
                raise InputError(line)

    def _job_words(self, design: Design, trial: Trial, folder: Path, compositions: Compositions) -> list[str]:
        placed = self._app.placed(compositions.config(trial.settings), folder)
        own = [as_override("hydra.sweep.dir", str(folder)), as_override("hydra.sweep.subdir", trial.folder)]
        return [*trial_overrides(design, trial.settings), *placed, *own]


@contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        said = f"{folder}: it cannot be written ({error}); what is there is kept, and the same command goes on"
        raise CrashError(said) from error


def _app(path: str) -> App:
    try:
        app: App = get_class(path)()
    except Exception as error:  # of Hydra's, or of the class
        said = one_line(error)
        raise InputError(f"study.app={path}: allowed is the path of a class such as a.b.App ({said})") from None
    return app


def _objective(given: Any) -> Objective:
    if not isinstance(given, Mapping) or set(given) != {"metric", "mode"}:
        raise InputError(
            f"hydra.sweeper.objective={show(given)}: what the app returns, as {{metric: <name>, mode: min|max}}"
        )
    return Objective(**given)


def _container(given: Any) -> Any:
    return OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _keys_of(words: Sequence[str]) -> frozenset[str]:
    return frozenset(_key(each) for each in OverridesParser.create().parse_overrides(list(words)))


def _value_text(key: str, swept: Dimension) -> str:
    return as_override(key, swept.at(0.0)).partition("=")[2]


def _settings(cfg: DictConfig) -> dict[str, Value]:
    """The values of a composed config, flat, and the options of its groups."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    flat = dict(flatten({str(key): value for key, value in plain.items() if key != "hydra"}))
    return flat | {str(key): value for key, value in cfg.hydra.runtime.choices.items()}


def _with_words(design: Design, words: Sequence[str]) -> Design:
    """The design with further words for every trial, whose values are fixed by them."""
    values = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(list(words))}
    return replace(design, overrides=(*design.overrides, *words), fixed={**design.fixed, **values})


def _changed_versions(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {there[name]} when the study began and {here[name]} later"
        for name in ("torch", "pytorch-lightning")
        if name in there and name in here and there[name] != here[name]
    ]


def _exception(end: JobReturn) -> BaseException | None:
    """That of a job that failed."""
    returned = end._return_value
    return returned if end.status == JobStatus.FAILED and isinstance(returned, BaseException) else None


def _program() -> str:
    """The script as it can be called from here: `train.py`, `src/app.py`."""
    path, here = Path(sys.argv[0]).absolute(), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else sys.argv[0]
