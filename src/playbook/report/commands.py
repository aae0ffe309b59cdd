"""What to type next: a remedy as a command that runs as printed, the command of any trial.

A study again is its words, its sweeps and what changes. What a command line cannot say (a space that exists in one arm
only, a list of trials) is written as a new study file beside the report, which `--config-dir` finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from playbook.analysis.finding import Finding, Remedy
from playbook.errors import InputError
from playbook.run_files import CONFIG
from playbook.study.design import Conditional, Design, folder_name
from playbook.study.overrides import DEFAULT_PROGRAM, as_override, shell_line, sweep_override, trial_overrides
from playbook.study.refusals import next_name
from playbook.study.space import Dimension, Value

N_TRIALS = "study.n_trials"
DECAY_STEPS = "schedule.decay_steps"
Changes = Mapping[str, Dimension | Value]
_WORD = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[^=]+)=(?P<text>.*)", re.DOTALL)


@dataclass
class Commands:
    """The commands of a study's report.

    `folder` is where study files go, `study_key` where the program has the keys of a study, `study_dir` where the
    trials are. `taken` says whether a study's name is in use. Two different studies never get the same name, so that
    all the commands of a report can be run; `files` has those to write, by path.
    """

    design: Design
    n_trials: int
    folder: Path
    program: str = DEFAULT_PROGRAM
    study_key: str = "study"
    taken: Callable[[str], bool] = lambda name: False
    study_dir: Path | None = None
    files: dict[Path, str] = field(default_factory=dict)
    _names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def of(self, finding: Finding) -> tuple[str, ...]:
        """The commands for those of a finding's remedies that can be run and change something."""
        commands = (self._of_remedy(remedy, finding.arm) for remedy in finding.next)
        return tuple(command for command in commands if command is not None)

    def of_trial(self, settings: Mapping[str, Value], changes: Changes = MappingProxyType({})) -> str:
        """One trial of the study by itself, with changes."""
        return shell_line("python", self.program, *_merged(trial_overrides(self.design, settings), _typed(changes)))

    def _of_remedy(self, remedy: Remedy, arm: str | None) -> str | None:
        if remedy.what == "trial":
            return self._of_trial_remedy(remedy)
        if remedy.what == "compare":
            return self._comparison(remedy)
        if set(remedy.changes) == {N_TRIALS}:
            return self._longer(int(remedy.changes[N_TRIALS]))  # type: ignore[arg-type]
        changes = self._consistent(remedy.changes, self.design.fixed)
        if not self._can_change(changes):
            return None
        if not _whole_words(self.design):
            return self._with_file(changes, arm)
        typed = _typed(changes)
        return self._study_line(["-m"], self._study_words(typed, self._name(tuple(typed))))

    def _of_trial_remedy(self, remedy: Remedy) -> str | None:
        trials = {trial.number: trial for trial in self.design.trials(self.n_trials)}
        assert remedy.trial is not None, "a remedy for a trial names it"
        trial = trials[remedy.trial]
        config = {**self.design.fixed, **self.design.fixed_in.get(trial.arm, {}), **trial.settings}
        changes = self._consistent(remedy.changes, config)
        if not all(self._exists(key) for key in changes) or not any(
            key not in config or not same(config[key], to) for key, to in changes.items()
        ):
            return None
        return self.of_trial(trial.settings, changes)

    def _comparison(self, remedy: Remedy) -> str | None:
        """Two of the trials, trained again with new seeds; of trials that this template ran."""
        if self.study_dir is None or remedy.trial is None or remedy.incumbent is None:
            return None
        folders = [self.study_dir / folder_name(number) for number in (remedy.trial, remedy.incumbent)]
        if not all((folder / CONFIG).exists() for folder in folders):  # another app's
            return None
        return shell_line("python", "scripts/compare.py", f"candidate={folders[0]}", f"incumbent={folders[1]}")

    def _longer(self, wanted: int) -> str | None:
        """The same study with more trials: of a finite space no more than it has points.

        Where fewer trials have ended than were asked for, that may be no more than it has; the same command goes on.
        """
        size = self.design.size
        n_trials = max(wanted, self.n_trials) if size is None else max(min(wanted, size), self.n_trials)
        if n_trials == self.n_trials < wanted:
            return None
        if not _whole_words(self.design):
            return self._with_file({N_TRIALS: n_trials}, None, self.design.name)
        return self._study_line(["-m"], self._study_words([f"{N_TRIALS}={n_trials}"], self.design.name))

    def _consistent(self, changes: Changes, config: Mapping[str, Value]) -> Changes:
        """The changes, with those that a trial needs beside them to be valid.

        A decay of the learning rate that has a length of its own keeps its share of a run of another length (C4);
        longer than the run it would be refused. Of a study whose fixed settings are not known its words say it.
        """
        known = {**self._given_numbers(), **config}
        steps, now, decay = changes.get("max_steps"), known.get("max_steps"), known.get(DECAY_STEPS)
        if not isinstance(steps, int) or not isinstance(decay, int):
            return changes
        kept = round(decay * steps / now) if isinstance(now, int) else min(decay, steps)
        return {**changes, DECAY_STEPS: max(1, kept)}

    def _given_numbers(self) -> dict[str, int]:
        """The whole numbers among the study's words, by key."""
        given = {match["key"]: match["text"] for each in self.design.overrides if (match := _WORD.match(each))}
        return {key: int(text) for key, text in given.items() if text.isdecimal()}

    def _can_change(self, changes: Changes) -> bool:
        """Whether the study can have the changes and differs by them.

        An optimizer of one's own may have no weight decay, a study whose schedule is `linear` already is not helped by
        `schedule=linear`, and what a study searches, or an option of a group that it searches within, is not fixed.
        """
        searched = self.design.parameters
        for key, to in changes.items():
            fixes = not isinstance(to, Dimension) and any(f"{other}.".startswith(f"{key}.") for other in searched)
            if fixes or not self._exists(key):
                return False
        if "max_steps" in changes and (  # some of those decays may be longer than the run
            DECAY_STEPS in searched or any(DECAY_STEPS in own for own in self.design.fixed_in.values())
        ):
            return False
        return any(self._differs(key, to) for key, to in changes.items())

    def _exists(self, key: str) -> bool:
        """Whether the trials of all arms have the key; taken for granted where nothing of its block is known."""
        block = f"{key.rpartition('.')[0]}."
        configs = [{**self.design.fixed, **own} for own in self.design.fixed_in.values()] or [dict(self.design.fixed)]
        return key in self.design.parameters or all(
            key in config or block == "." or not any(other.startswith(block) for other in config) for config in configs
        )

    def _differs(self, key: str, to: Dimension | Value) -> bool:
        """Whether it is something else than what all trials have now; what is searched, or unknown, is."""
        if isinstance(to, Dimension) or key in self.design.parameters:
            return True
        if key in self.design.fixed:
            return not same(self.design.fixed[key], to)
        given = {match["key"]: match["text"] for each in self.design.overrides if (match := _WORD.match(each))}
        return key not in given or f"{key}={given[key]}" != as_override(key, to)  # an option of a group

    def _study_line(self, flags: Sequence[str], words: Sequence[str]) -> str:
        """The command of a study. In an app whose config has no `study` its keys are the sweeper's, and new there."""
        if self.study_key == "study":
            return shell_line("python", self.program, *flags, *words)
        own = [
            f"++{self.study_key}.{word.removeprefix('study.')}" if word.startswith("study.") else word for word in words
        ]
        return shell_line("python", self.program, *flags, "hydra/sweeper=quasi_random", *own)

    def _study_words(self, words: Sequence[str], name: str) -> list[str]:
        """The study as command-line words."""
        design = self.design
        swept = {**design.scientific, **design.nuisance, **design.repeat}
        roles = [f"study.roles.{key}=scientific" for key in design.scientific]
        roles += [f"study.roles.{key}=repeat" for key in design.repeat if key != "seed"]
        sweeps = [sweep_override(key, dimension) for key, dimension in swept.items()]
        overrides = _merged(_without_options(design.overrides, words), sweeps)
        return _merged([*overrides, *roles, *self._study_keys(name)], words)

    def _study_keys(self, name: str) -> list[str]:
        design = self.design
        goal = [as_override("study.goal", design.goal)] if design.goal else []
        seed = [as_override("study.seed", design.seed)] if design.seed else []
        # Where all of a grid was run, all of the next one is: its size may be another.
        n_trials = [] if design.size == self.n_trials else [f"{N_TRIALS}={self.n_trials}"]
        return [as_override("study.name", name), *goal, *seed, *n_trials]

    def _with_file(self, changes: Changes, arm: str | None, name: str | None = None) -> str:
        """The study as a file, with its space as the changes make it in the arm; values stay words."""
        dimensions = {key: to for key, to in changes.items() if isinstance(to, Dimension)}
        values = _typed({key: to for key, to in changes.items() if key not in dimensions})
        design = _changed(self.design, dimensions, arm)
        block = _study_block(design)
        text = yaml.safe_dump(
            {"defaults": ["_base_", "_self_"], **block}, sort_keys=False, allow_unicode=True, width=120
        )
        name = name or self._name((text, *values))
        words = _without_searched(_without_options(self.design.overrides, values), design)
        if self.study_key != "study":  # there is no group of studies: all of it can stand on the command line
            said = [as_override(f"study.{key}", value) for key, value in block.items() if value]
            return self._study_line(["-m"], _merged([*words, *said, *self._study_keys(name)], values))
        path = self.folder / "study" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.yaml"
        self.files[path] = f"# Written by the report of study {self.design.name}.\n{text}"
        keys = [word for word in self._study_keys(name) if not word.startswith("study.goal=")]
        given = ["-m", "--config-dir", str(self.folder)]
        return self._study_line(given, [f"study={path.stem}", *_merged([*words, *keys], values)])

    def _name(self, study: tuple[str, ...]) -> str:
        """`demo-2` for the first other study, `demo-3` for the next; the same one keeps its name."""
        if study not in self._names:
            used = set(self._names.values())
            self._names[study] = next_name(self.design.name, lambda name: name in used or self.taken(name))
        return self._names[study]


def same(one: Value, other: Value) -> bool:
    """Whether two values of a key are one: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _typed(changes: Changes) -> list[str]:
    return [
        sweep_override(key, to) if isinstance(to, Dimension) else as_override(key, to) for key, to in changes.items()
    ]


def _merged(words: Iterable[str], others: Iterable[str]) -> list[str]:
    """Both, where a later word for a key takes the place of an earlier one, and its `+`."""
    found: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for each in [*words, *others]:
        match = _WORD.match(each)
        if match is None:  # ~key
            found[each] = each
            continue
        prefix = prefixes.setdefault(match["key"], match["prefix"])
        found[match["key"]] = f"{prefix}{match['key']}={match['text']}"
    return list(found.values())


def _without_options(words: Sequence[str], changes: Sequence[str]) -> list[str]:
    """The words but those for keys of a group whose option changes: another schedule may have no `decay_steps`."""
    groups = tuple(f"{match['key']}." for change in changes if (match := _WORD.match(change)))
    return [word for word in words if not word.lstrip("+").startswith(groups)]


def _without_searched(words: Sequence[str], design: Design) -> list[str]:
    """The words but those for keys that a study's file searches, which would fix them; a new key keeps its `+`."""
    searched = {**design.scientific, **design.nuisance, **design.repeat}
    kept = []
    for each in words:
        match = _WORD.match(each)
        if match is None or match["key"] not in searched:
            kept.append(each)
        elif match["prefix"]:
            kept.append(match["prefix"] + sweep_override(match["key"], searched[match["key"]]))
    return kept


def _whole_words(design: Design) -> bool:
    """Whether command-line words can say the whole study."""
    if design.conditional or design.cases or design.listed_trials:
        return False
    keys = [*design.scientific, *design.repeat]
    if any(other.startswith(f"{key}.") for key in keys for other in keys):  # study.roles.optimizer, and within it
        return False
    try:
        for key, each in {**design.scientific, **design.nuisance, **design.repeat}.items():
            sweep_override(key, each)
    except InputError:
        return False
    return True


def _changed(design: Design, sweeps: Mapping[str, Dimension], arm: str | None) -> Design:
    """The design with other dimensions; those of a condition only where it holds in the arm."""
    settings = {each.name: each.settings for each in design.arms}.get(arm or "") if not design.listed_trials else None

    def holds(conditional: Conditional) -> bool:
        return settings is None or conditional.holds(settings)

    conditional = tuple(
        replace(each, space={key: sweeps.get(key, one) if holds(each) else one for key, one in each.space.items()})
        for each in design.conditional
    )
    cases = {
        name: replace(
            case,
            space={
                key: sweeps.get(key, one) if arm is None or design.case_of(arm) == name else one
                for key, one in case.space.items()
            },
        )
        for name, case in design.cases.items()
    }
    known = {key for each in design.conditional for key in each.space}
    known |= {key for each in cases.values() for key in each.space}
    scientific = {key: sweeps.get(key, each) for key, each in design.scientific.items()}
    others = {key: each for key, each in sweeps.items() if key not in known and key not in scientific}
    return replace(
        design,
        conditional=conditional,
        cases=cases,
        scientific=scientific,
        nuisance={**design.nuisance, **others},
        listed_trials=()
        if sweeps
        else design.listed_trials,  # a list of trials cannot be swept: the sweep is the study then
    )


SPACES = ("scientific", "cases", "nuisance", "conditional", "repeat", "trials")


def _study_block(design: Design) -> dict[str, Any]:
    """What a file of the config group `study` says, but for its defaults."""
    whole = design.plain()
    space = {key: whole[key] for key in SPACES if whole.get(key)}
    return {"goal": design.goal, **space}
