"""The configs of a study's trials: Hydra composes one for each combination of groups, and the rest are made from it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from playbook.config import flatten
from playbook.errors import InputError
from playbook.study.app import App
from playbook.study.design import Design
from playbook.study.overrides import trial_overrides
from playbook.study.space import Choice, Dimension, Value
from playbook.validation import show


@dataclass(frozen=True)
class Compositions:
    """The composed configs of a study: one for each combination of the options of its groups.

    Of `parameters`, the study's hyperparameters, `groups` choose an option (`optimizer`, `model`).
    """

    parameters: tuple[str, ...]
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

    def whole(self, settings: Mapping[str, Value], options: Mapping[str, Value]) -> dict[str, Value]:
        """The settings of a trial of a list, with what the config says of those that only other trials name.

        `options` are those of the groups where no trial chooses one.
        """
        flat = {**dict(flatten(self.config(settings))), **options}
        return dict(settings) | {key: flat[key] for key in self.parameters if key not in settings and key in flat}


class Composer:
    """Composes what the words of a sweep say; `master` is the config that Hydra composed for the sweep itself.

    `left_out` are top-level keys that are not for the trials.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, app: App, left_out: Sequence[str]) -> None:
        self._loader = loader
        self._master = master
        self._app = app
        self._left_out = left_out
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, words: Sequence[str]) -> DictConfig:
        """What Hydra composes for the words of a trial; it takes a tenth of a second."""
        name = tuple(words)
        if name not in self._composed:
            self._composed[name] = self._loader.load_sweep_config(self._master, list(words))
        return self._composed[name]

    def options(self) -> dict[str, list[str]]:
        """All options of each group of the app's own of which it has chosen one."""
        groups = [str(key) for key in self._master.hydra.runtime.choices if not str(key).startswith("hydra/")]
        return {group: self._loader.get_group_options(group) for group in groups}

    def config_dirs(self) -> list[Path]:
        """The folders that the app's config comes from, those on this disk."""
        sources = self._master.hydra.runtime.config_sources
        return [Path(each.path) for each in sources if each.schema == "file"]

    def plain(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The same as plain containers, checked."""
        plain = self._app.plain_config(self.compose(overrides))
        return {key: value for key, value in plain.items() if key not in self._left_out}

    def default_name(self, varied: Sequence[str]) -> str:
        """What the name of a study begins with that was given none."""
        return self._app.default_name(self._master, varied)

    def configs(self, design: Design) -> Compositions:
        """Composed once for each combination of groups, and checked."""
        choices: Mapping[str, Any] = self._master.hydra.runtime.choices
        groups = tuple(key for key in design.parameters if key in choices)
        _refuse_no_options(design, groups)
        if design.listed_trials:
            named = {
                *groups,
                *set.intersection(*(set(each) for each in design.listed_trials)),
            }  # by all: they are set again
            candidates = [{key: value for key, value in each.items() if key in named} for each in design.listed_trials]
        else:
            candidates = [
                {**arm.settings_at([0])[0], **options} for arm in design.arms for options in _options(arm.space, groups)
            ]
        by_label: dict[str, dict[str, Any]] = {}
        found = Compositions(design.parameters, groups, by_label)
        for settings in candidates:
            if (label := found.label(settings)) not in by_label:
                by_label[label] = self.plain(trial_overrides(design, settings))
        return found

    def with_fixed(self, design: Design) -> Design:
        """The design with what its words fix; each trial of a list with all that the others name."""
        compositions = self.configs(design)
        if design.listed_trials:
            options = {key: self._master.hydra.runtime.choices[key] for key in compositions.groups}
            design = replace(
                design, listed_trials=tuple(compositions.whole(each, options) for each in design.listed_trials)
            )
        blocks = tuple(f"{key}." for key in design.parameters if key not in compositions.groups)
        flat = {
            label: {
                key: value
                for key, value in self._app.identity(plain).items()
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


def _options(space: Mapping[str, Dimension], groups: Sequence[str]) -> Iterator[dict[str, Value]]:
    """Every combination of the options of the groups that are searched."""
    searched = {key: each.values for key, each in space.items() if key in groups and isinstance(each, Choice)}
    for values in itertools.product(*searched.values()):
        yield dict(zip(searched, values, strict=True))


def _refuse_no_options(design: Design, groups: Sequence[str]) -> None:
    """`model={width:8},mlp`, `experiment=null,mine`: a group has options, by their names."""
    of_cases = (case.space for case in design.cases.values())
    of_conditions = (each.space for each in design.conditional)
    spaces = (design.scientific, design.nuisance, design.repeat, *of_cases, *of_conditions)
    given: list[tuple[str, Value]] = [pair for each in design.listed_trials for pair in each.items()]
    for key, each in (pair for space in spaces for pair in space.items()):
        given += [(key, value) for value in (each.values if isinstance(each, Choice) else (each.low, each.high))]
    for key, value in given:
        if key in groups and not isinstance(value, (str, list)):
            raise InputError(
                f"{key}={show(value)}: allowed are names of options of the group {key}; what is in one is searched as"
                f" {key}.<key>=a,b"
            )


def _set(plain: dict[str, Any], key: str, value: Value) -> None:
    *path, last = key.split(".")
    block = plain
    for name in path:
        block = block.setdefault(name, {})
    block[last] = value
