"""Hydra's side of a study: its words read, its configs composed, its launchers called.

What a study is, and how it is opened, run and finished, stands in `playbook.study`.
"""

from __future__ import annotations

import functools
import re
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from hydra_plugins.quasi_random_sweeper._composer import Composer
from hydra_plugins.quasi_random_sweeper._launchers._launch import launch, parallelism
from hydra_plugins.quasi_random_sweeper._outcome_callback import Recorder
from playbook.cli import typed_arguments
from playbook.config import flatten
from playbook.errors import InputError, one_line
from playbook.study.app import App
from playbook.study.conditions_at import conditions_at
from playbook.study.config import CommandLine, StudyConfig, read_study_config
from playbook.study.design import Objective, Trial
from playbook.study.overrides import as_override, dimension_of
from playbook.study.session import Program, Proposer, StudySession, open_study
from playbook.study.space import Choice, Dimension, Value
from playbook.validation import show

__all__ = ["Invocation", "StudySweep"]

SWEEPERS_KEY = "hydra.sweeper.study"
"""Where the keys of a study are on the command line of an app whose config has no `study` of ours."""
_STOPPED = (130, 143)
"""What a job exits with that a signal has stopped: then the study stops."""


@dataclass(frozen=True)
class Invocation:
    """How the program was called: `python <script> <words>`, from a checkout; `quiet` prints nothing.

    `report`: whether the program says on end what it has found; `progress`: whether a quiet study shows how far it is.
    """

    script: str
    words: tuple[str, ...]
    checkout: Path
    quiet: bool = False
    report: bool = True
    progress: bool = False

    @property
    def command(self) -> str:
        """The line for a shell, without the password of a storage."""
        return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", f"python {self.script} {shlex.join(self.words)}")

    @classmethod
    def of_this_process(cls) -> Invocation:
        """As a shell called it."""
        path, here = Path(sys.argv[0]).absolute(), Path.cwd()
        script = str(path.relative_to(here)) if path.is_relative_to(here) else sys.argv[0]
        return cls(script, tuple(typed_arguments()), path.resolve().parent)


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
        self.folder: Path | None = None
        self._context = hydra_context
        self._task_function = _Contained(task_function)
        self._master = config
        in_config = _study_in(config)
        self._study_key = SWEEPERS_KEY if in_config is None else "study"
        given = {key: value for key, value in _container(study).items() if value is not None}
        self._config = read_study_config({**(in_config or {}), **given})
        self._studies_dir = Path(studies_dir)
        self._objective = _objective(_container(objective), config)
        self._app = _app(self._config.app)
        self._parallelism = parallelism(config.hydra.launcher)
        left_out = () if in_config is None else (self._study_key,)
        self._composer = Composer(hydra_context.config_loader, config, self._app, left_out)

    def run(self, arguments: list[str], invocation: Invocation | None = None) -> float | None:
        """Design, compare, check, show the plan, run what is missing; the best objective.

        Raises:
            InputError: a line for each fault. Nothing has been written.
            CrashError: trials crashed; the others are done and recorded.
        """
        called = invocation or Invocation.of_this_process()
        console = Console(quiet=called.quiet)
        try:
            self._say_what_is_not_used()
            overrides, sweeps = self._read(arguments)
            settings = _settings(self._composer.compose(overrides))
            where = conditions_at(self._composer.config_dirs(), str(settings.get("study", "")))
            given = CommandLine(sweeps, _keys_of(overrides), settings, self._composer.options(), where)
            num_workers = self._parallelism.of_trials(self._app.num_devices(self._composer.plain(overrides))).workers
            program = Program(
                self._app,
                self._composer,
                self._absolute_if_jobs_change_directory(self._studies_dir),
                called.script,
                called.command,
                called.checkout,
                self._study_key,
                num_workers,
                self._parallelism.cpus_per_trial,
                self._parallelism.elsewhere,
            )
            proposer = self._proposer(num_workers)
            session = open_study(program, self._config, given, self._objective, overrides, console, proposer)
            self.folder = session.folder
            if not session.is_whole or self._config.dry_run:
                session.show_plan()
            if self._config.dry_run:
                return None
            session.run(lambda trials: self._launch(session, trials), progress=called.progress or not called.quiet)
        except InputError as error:
            raise InputError(self._with_its_keys(str(error))) from error
        return session.finish(report=called.report)

    def _read(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Dimension]]:
        """The words that every trial gets, and the keys that are swept; of two words for a key the later one counts."""
        words: list[str] = []
        sweeps: dict[str, Dimension] = {}
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        for override in parser.parse_overrides(list(arguments)):
            key = _key(override)
            of_the_study = key.partition(".")[0] == self._study_key
            sweeps.pop(key, None)
            if override.is_sweep_override():
                if of_the_study:
                    raise InputError(
                        f"{str(override.input_line).lstrip('+')}: a study has one value; sweep a trial's keys"
                    )
                swept = dimension_of(override)
                _refuse_interpolation(str(override.input_line), swept)
                if override.is_add() or override.is_force_add():  # `+key=1,2`: each trial then sets what is there
                    words.append(f"{override.get_key_element()}={_value_text(key, swept)}")
                sweeps[key] = swept
            elif not of_the_study:
                words.append(str(override.input_line))
        return words, sweeps

    def _proposer(self, num_workers: int | None) -> Proposer | None:
        """Who proposes the trials, of which so many run at once; None where the sequence has them all."""
        for key in ("start", "parallel"):
            if getattr(self._config, key) is not None:
                raise InputError(f"study.{key}: quasi-random points wait for no others; add hydra/sweeper=bayesian")
        return None

    def _launch(self, session: StudySession, trials: Sequence[Trial]) -> list[BaseException | None]:
        with open_dict(self._master.hydra):
            self._master.hydra.sweep.dir = str(session.folder)
        # A worker keeps its devices for life, so it claims as many as the largest trial wants.
        devices = max(self._app.num_devices(session.config(trial)) for trial in trials)
        recorder = Recorder(session.file.design.objective, devices if self._parallelism.shared_devices else 0)
        callbacks = self._context.callbacks.callbacks
        callbacks[:] = [each for each in callbacks if not isinstance(each, Recorder)] + [recorder]
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task_function, config=self._master
        )
        place = as_override("hydra.sweep.dir", str(session.folder))
        jobs = [[*session.overrides(trial), place, as_override("hydra.sweep.subdir", trial.folder)] for trial in trials]
        return [_exception(end) for end in launch(launcher, jobs, trials[0].number, devices)]

    def _absolute_if_jobs_change_directory(self, folder: Path) -> Path:
        """A job that changes the directory would otherwise move the study under the eyes of whoever watches it."""
        return folder.absolute() if self._master.hydra.job.chdir else folder

    def _say_what_is_not_used(self) -> None:
        for word in self._master.hydra.overrides.hydra:
            if re.match(r"\+{0,2}hydra\.sweep\.(dir|subdir)=", word):
                print(
                    f"warning: {word}: not used; the folder of a study is hydra.sweeper.studies_dir and its name",
                    file=sys.stderr,
                )

    def _with_its_keys(self, lines: str) -> str:
        """What a study says of its keys, as the command line of this app has them."""
        if self._study_key == "study":
            return lines
        keys = "|".join(StudyConfig.model_fields)
        return re.sub(rf"(?<![\w.])study\.(?=({keys})\b)", f"{self._study_key}.", lines)


class _Contained:
    """The job of a trial, whose `sys.exit` ends that trial and not the study; a signal that stops it stops both.

    submitit ends the process by one too, wherever the trial is when Slurm takes its place: it is requeued by then.
    """

    def __init__(self, task_function: TaskFunction) -> None:
        self._task_function = task_function
        functools.update_wrapper(self, task_function)

    def __call__(self, cfg: Any) -> Any:
        try:
            return self._task_function(cfg)
        except SystemExit as end:
            if end.code in _STOPPED or _is_of_submitit(end):
                raise
            raise RuntimeError(f"the job called sys.exit({end.code!r})") from end


def _is_of_submitit(end: SystemExit) -> bool:
    """Whether a handler of submitit's ended the process: within the job nothing else of it is called. The innermost
    call need not be its own, since W&B puts itself in the place of `sys.exit`."""
    frames = (frame for frame, _ in traceback.walk_tb(end.__traceback__))
    return any(str(frame.f_globals.get("__name__", "")).startswith("submitit.") for frame in frames)


def _study_in(config: DictConfig) -> dict[str, Any] | None:
    """The app's own top-level `study`, if that is about a study of ours: a block with one of our keys, or an empty one.

    An app may have a `study` that means another thing.
    """
    if "study" not in config or not OmegaConf.is_dict(config.study):
        return None
    plain: dict[str, Any] = _container(config.study) or {}
    return plain if not plain or StudyConfig.model_fields.keys() & plain.keys() else None


def _app(path: str) -> App:
    try:
        app: App = get_class(path)()
    except Exception as error:  # of Hydra's, or of the class
        said = one_line(error)
        raise InputError(f"study.app={path}: allowed is the path of a class such as a.b.App ({said})") from None
    return app


def _objective(given: Any, config: DictConfig) -> Objective:
    if given is None:
        in_config = _container(config.get("objective"))
        of_ours = isinstance(in_config, Mapping) and set(in_config) == {"metric", "mode"}
        return Objective(**in_config) if of_ours else Objective("objective", "min")
    if not isinstance(given, Mapping) or set(given) != {"metric", "mode"}:
        raise InputError(
            f"hydra.sweeper.objective={show(given)}: what the app returns, as {{metric: <name>, mode: min|max}}"
        )
    return Objective(**given)


def _container(given: Any) -> Any:
    return OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given


def _refuse_interpolation(line: str, swept: Dimension) -> None:
    """`warmup_steps=${eval_every},5`: what a trial was has to be known without its config."""
    if isinstance(swept, Choice) and any("${" in str(value) for value in swept.values):
        raise InputError(f"{line}: a sweep lists values, and ${{…}} is none; type its value")


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


def _exception(end: JobReturn) -> BaseException | None:
    """That of a job that failed."""
    returned = end._return_value
    return returned if end.status == JobStatus.FAILED and isinstance(returned, BaseException) else None
