"""The sweep: Hydra's words in, a study out.

What a study is stands in `playbook.study`; this file knows Hydra. Nothing is written until every word has been
understood, the design has been compared with the one that the folder holds, and the config of every missing trial has
been checked.
"""

from __future__ import annotations

import copy
import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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

from hydra_plugins.quasi_random_sweeper._launching import launch, parallelism
from hydra_plugins.quasi_random_sweeper._recorder import Recorder
from playbook.config import difference, flatten
from playbook.errors import CrashError, InputError
from playbook.lock import locked
from playbook.study.advice import refusals
from playbook.study.block import Given, StudyBlock, design_of, read_block
from playbook.study.design import Design, Objective, Trial
from playbook.study.engine import run_missing, unfinished
from playbook.study.grammar import dimension_of, word
from playbook.study.ledger import Ledger
from playbook.study.plan import Plan
from playbook.study.progress import Watch, summary
from playbook.study.project import Project
from playbook.study.provenance import environment
from playbook.study.space import Dimension, Value
from playbook.study.store import STUDY, StudyFile, outcomes, read_study, write_study

__all__ = ["StudySweep"]


@dataclass(frozen=True)
class Compositions:
    """The composed configs of a study: one for each combination of the options of its groups.

    `groups` are the keys among the study's hyperparameters that choose an option (`optimizer`, `model`).
    """

    groups: tuple[str, ...]
    by_label: Mapping[str, dict[str, Any]]

    def label(self, settings: Mapping[str, Value]) -> str:
        """`model=cnn,optimizer=adam`: which composition the settings belong to."""
        return ",".join(f"{key}={settings[key]}" for key in self.groups if key in settings)

    def config(self, settings: Mapping[str, Value]) -> dict[str, Any]:
        """The config of a trial, without another composition, which takes Hydra a tenth of a second."""
        plain = copy.deepcopy(self.by_label[self.label(settings)])
        for key, value in settings.items():
            if key not in self.groups:
                _set(plain, key, value)
        return plain


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
        self._block = read_block(_container(study))
        self._studies_dir = Path(studies_dir)
        self._objective = Objective(**_container(objective))
        self._project: Project = get_class(self._block.project)()
        self._console = Console()
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def run(self, arguments: list[str]) -> float | None:
        """Design, compare, check, show the plan, run what is missing; the best objective.

        Raises:
            InputError: a line for each fault. Nothing has been written.
            CrashError: trials crashed; the others are done and recorded.
        """
        words, sweeps = self._read(arguments)
        base = self._compose(words)
        given = Given(sweeps, _keys_of(words), _settings(base))
        study, folder = self._study(words, given, base)
        design = study.design
        trials = design.trials(study.n_trials)
        done = [each.result.seconds for each in outcomes(folder, trials) if each.result]
        missing = unfinished(folder, trials)
        machines = parallelism(self._master.hydra.launcher)
        compositions = self._compositions(design)
        for trial in missing:
            self._project.check(compositions.config(trial.settings))
        ledger = Ledger(folder, design, trials, self._block.storage)
        if missing or self._block.dry_run:
            self._console.print(Plan(design, study.n_trials, tuple(done), machines.workers or len(missing)))
        if self._block.dry_run:
            return None
        if missing:
            self._run_missing(study, folder, missing, ledger, compositions)
        ledger.refresh()
        self._console.print(summary(ledger, study.n_trials, _program()))
        for line in self._project.finish(folder):
            self._console.print(line, soft_wrap=True, highlight=False)
        if crashed := ledger.count("crashed"):
            raise CrashError(
                f"{folder}: {crashed} of {study.n_trials} trials crashed, with their tracebacks in crash_<n>.txt of"
                " their folders; the same command runs them again"
            )
        best = ledger.best
        return best.result.objective if best is not None and best.result is not None else None

    def _read(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Dimension]]:
        """The words that every trial gets, and the keys that are swept."""
        words: list[str] = []
        sweeps: dict[str, Dimension] = {}
        parser = OverridesParser.create(config_loader=self._context.config_loader)
        for override in parser.parse_overrides(list(arguments)):
            key = _key(override)
            if override.is_sweep_override():
                swept = dimension_of(override)
                if override.is_add() or override.is_force_add():  # `+key=1,2`: each trial then sets what is there
                    words.append(f"{override.get_key_element()}={_value_text(key, swept)}")
                sweeps[key] = swept
            elif key.partition(".")[0] != self._project.study_key:
                words.append(str(override.input_line))
        return words, sweeps

    def _study(self, words: Sequence[str], given: Given, base: DictConfig) -> tuple[StudyFile, Path]:
        """The study as its folder has it, made longer where that is asked for; or the new one."""
        block = self._block
        there = read_study(self._folder(block.name)) if block.name else None
        design = self._design(block, given, words, None if there is None else there.budget)
        if not block.name:
            title = self._project.title(self._master, design.parameters)
            design = replace(design, name=f"{title}-{_fingerprint(design)}")
            there = read_study(self._folder(design.name))
        folder = self._folder(design.name)
        _refuse_foreign_folder(folder, there)
        workers = parallelism(self._master.hydra.launcher)
        settled = self._project.settled(self._project.composed(base), workers.cpus_per_trial)
        if there is not None:
            had = {word.partition("=")[0]: word for word in there.design.words}
            settled = [had.get(word.partition("=")[0], word) for word in settled]
        design = _with_words(design, settled)
        if problems := refusals(design):
            raise InputError("\n".join(problems))
        here = environment(Path(sys.argv[0]).resolve().parent)
        if there is None:
            n_trials = block.n_trials or design.default_n_trials
            made = datetime.now(UTC).isoformat(timespec="seconds")
            command = f"python {_program()} {shlex.join(sys.argv[1:])}"
            return StudyFile(design, n_trials, block.n_trials or n_trials, made, command, here), folder
        _refuse_changed_design(folder, there.design, design)
        if len(there.design.settings) >= len(design.settings):
            design = replace(there.design, goal=design.goal or there.design.goal)
        caveats = [*there.caveats, *_changed_versions(there.environment, here)]
        n_trials = max(block.n_trials or there.n_trials, there.n_trials)
        if design.settings:
            n_trials = max(n_trials, len(design.settings))
        return replace(there, design=design, n_trials=n_trials, caveats=tuple(dict.fromkeys(caveats))), folder

    def _design(self, block: StudyBlock, given: Given, words: Sequence[str], budget: int | None) -> Design:
        """The design with what is fixed by its words."""
        design = replace(design_of(block, given, self._objective, budget), words=tuple(words))
        compositions = self._compositions(design)
        blocks = tuple(f"{key}." for key in design.parameters if key not in compositions.groups)
        flat = {
            label: {
                key: value
                for key, value in self._project.identity(plain).items()
                if key not in design.parameters and not key.startswith(blocks)
            }
            for label, plain in compositions.by_label.items()
        }
        first, *others = flat.values()
        fixed = {
            key: value for key, value in first.items() if all(key in each and each[key] == value for each in others)
        }
        rest = {label: {key: each for key, each in own.items() if key not in fixed} for label, own in flat.items()}
        return design.with_fixed(fixed, {label: own for label, own in rest.items() if own})

    def _compositions(self, design: Design) -> Compositions:
        """Composed once for each combination of groups, and checked."""
        if design.settings:
            candidates = [dict(each) for each in design.settings]
        else:
            candidates = [settings for arm in design.arms for settings in _corners(arm.settings_at([0])[0], arm.space)]
        choices: Mapping[str, Any] = self._master.hydra.runtime.choices
        groups = tuple(key for key in design.parameters if key in choices)
        found = Compositions(groups, {})
        by_label: dict[str, dict[str, Any]] = {}
        for settings in candidates:
            kept = {key: value for key, value in settings.items() if key in groups}
            if (label := found.label(kept)) not in by_label:
                cfg = self._compose([*design.words, *(word(key, value) for key, value in settings.items())])
                by_label[label] = self._project.composed(cfg)
        return Compositions(groups, by_label)

    def _compose(self, words: Sequence[str]) -> DictConfig:
        """What Hydra composes for the words of a trial; it takes a tenth of a second."""
        name = tuple(words)
        if name not in self._composed:
            self._composed[name] = self._context.config_loader.load_sweep_config(self._master, list(words))
        return self._composed[name]

    def _folder(self, name: str) -> Path:
        folder = self._studies_dir / name
        # A job that changes the directory would otherwise move the study under the eyes of whoever watches it.
        return folder.absolute() if self._master.hydra.job.chdir else folder

    def _run_missing(
        self, study: StudyFile, folder: Path, missing: Sequence[Trial], ledger: Ledger, compositions: Compositions
    ) -> None:
        new = not (folder / STUDY).exists()
        new_parents = [path for path in folder.parents if not path.exists()]
        with locked(folder, f"{folder}: another sweep of this study is running"):
            write_study(folder, study)
            with open_dict(self._master.hydra):
                self._master.hydra.sweep.dir = str(folder)
            one_device_each = parallelism(self._master.hydra.launcher).shared_devices
            self._context.callbacks.callbacks.append(Recorder(study.design.objective, one_device_each=one_device_each))
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
            if new and (line := _refused_alike(ledger, study.n_trials)):
                shutil.rmtree(folder)
                for path in new_parents:
                    path.rmdir()
                raise InputError(line)

    def _job_words(self, design: Design, trial: Trial, folder: Path, compositions: Compositions) -> list[str]:
        placed = self._project.placed(compositions.config(trial.settings), folder)
        own = [word("hydra.sweep.dir", str(folder)), word("hydra.sweep.subdir", trial.folder)]
        return [*design.words, *(word(key, value) for key, value in trial.settings.items()), *placed, *own]


def _corners(settings: Mapping[str, Value], space: Mapping[str, Dimension]) -> Iterator[dict[str, Value]]:
    """The settings with each value of each list of names in turn: every option of a group is among them."""
    yield dict(settings)
    for key, each in space.items():
        for value in getattr(each, "values", ()):
            if isinstance(value, str):
                yield {**settings, key: value}


def _container(given: Any) -> Any:
    return OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _keys_of(words: Sequence[str]) -> frozenset[str]:
    return frozenset(_key(each) for each in OverridesParser.create().parse_overrides(list(words)))


def _value_text(key: str, swept: Dimension) -> str:
    return word(key, swept.at(0.0)).partition("=")[2]


def _settings(cfg: DictConfig) -> dict[str, Value]:
    """The values of a composed config, flat, and the options of its groups."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(plain, dict)
    flat = dict(flatten({str(key): value for key, value in plain.items() if key != "hydra"}))
    return flat | {str(key): value for key, value in cfg.hydra.runtime.choices.items()}


def _with_words(design: Design, words: Sequence[str]) -> Design:
    """The design with further words for every trial, whose values are fixed by them."""
    values = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(list(words))}
    return replace(design, words=(*design.words, *words), fixed={**design.fixed, **values})


def _set(plain: dict[str, Any], key: str, value: Value) -> None:
    *path, last = key.split(".")
    block = plain
    for name in path:
        block = block.setdefault(name, {})
    block[last] = value


def _fingerprint(design: Design) -> str:
    text = json.dumps(_compared(design), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _compared(design: Design) -> dict[str, Any]:
    """What makes a study the study that it is."""
    left_out = ("name", "goal", "overrides", "trials")
    flat = dict(flatten({key: value for key, value in design.plain().items() if key not in left_out}))
    return {key: value for key, value in flat.items() if value not in ({}, [])}


def _refuse_changed_design(folder: Path, there: Design, here: Design) -> None:
    lines = difference(_compared(there), _compared(here))
    both = min(len(there.settings), len(here.settings))
    if there.settings[:both] != here.settings[:both]:
        lines.append("trials: the list begins otherwise there")
    if lines:
        raise InputError(
            f"{folder} holds a study of another design ({'; '.join(lines)}); name another one with study.name=<name>"
        )


def _refuse_foreign_folder(folder: Path, there: StudyFile | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name another study with study.name=<name>")
    if there is None and folder.is_dir() and any(path.name != f"{STUDY}.tmp" for path in folder.iterdir()):
        raise InputError(f"{folder} has files and is not a study's; name another one with study.name=<name>")


def _changed_versions(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {there[name]} when the study began and {here[name]} later"
        for name in ("torch", "pytorch-lightning")
        if name in there and name in here and there[name] != here[name]
    ]


def _refused_alike(ledger: Ledger, n_trials: int) -> str | None:
    """What was said, where every trial was refused for the same reason: bad input, and not a study."""
    crashes = [each.crash for each in ledger.outcomes.values() if each.crash is not None]
    said = {crash.message for crash in crashes if crash.kind == InputError.__name__}
    return said.pop() if len(crashes) == n_trials and len(said) == 1 else None


def _exception(end: JobReturn) -> BaseException | None:
    """That of a job that failed."""
    returned = end._return_value
    return returned if end.status == JobStatus.FAILED and isinstance(returned, BaseException) else None


def _program() -> str:
    """The script as it was called: `train.py`."""
    return Path(sys.argv[0]).name or "train.py"
