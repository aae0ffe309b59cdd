"""What to type next: a remedy as a command that runs as printed, the command of any trial.

A study again is its words, its sweeps and what changes. What a command line cannot say (a space that exists in one arm
only, a list of trials) is written as a new study file beside the report, which `--config-dir` finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from playbook.analysis.finding import Finding, Remedy
from playbook.errors import InputError
from playbook.study.design import Conditional, Design
from playbook.study.overrides import (
    DEFAULT_PROGRAM,
    as_override,
    dimension_from_text,
    shell_line,
    sweep_override,
    trial_overrides,
)
from playbook.study.space import Dimension, Value

N_TRIALS = "study.n_trials"
_WORD = re.compile(r"(?P<prefix>\+{0,2})(?P<key>[^=]+)=(?P<text>.*)", re.DOTALL)


@dataclass
class Commands:
    """The commands of a study's report.

    `folder` is where study files go. `taken` says whether a study's name is in use. Two different studies never get
    the same name, so that all the commands of a report can be run; `files` has those to write, by path.
    """

    design: Design
    n_trials: int
    folder: Path
    program: str = DEFAULT_PROGRAM
    taken: Callable[[str], bool] = lambda name: False
    files: dict[Path, str] = field(default_factory=dict)
    _names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def of(self, finding: Finding) -> tuple[str, ...]:
        """The commands for those of a finding's remedies that can be run and change something."""
        remedies = (self._possible(remedy) for remedy in finding.next)
        return tuple(self._of_remedy(remedy, finding.arm) for remedy in remedies if remedy is not None)

    def of_trial(self, settings: Mapping[str, Value], words: Sequence[str] = ()) -> str:
        """One trial of the study by itself, with further words."""
        return shell_line("python", self.program, *_merged(trial_overrides(self.design, settings), words))

    def _possible(self, remedy: Remedy) -> Remedy | None:
        """The remedy as this study can have it.

        A finite space has no more trials than points, an optimizer of one's own may have no weight decay, and a study
        whose schedule is `linear` already is not helped by `schedule=linear`.
        """
        if remedy.what == "command":
            return remedy
        given = {key: text for key, _, text in (each.partition("=") for each in remedy.words)}
        if remedy.what == "study" and set(given) == {N_TRIALS}:
            wanted, size = int(given[N_TRIALS]), self.design.size
            if wanted <= self.n_trials:  # of which not half have ended: the same command goes on
                return replace(remedy, words=(f"{N_TRIALS}={self.n_trials}",))
            most = wanted if size is None else min(wanted, size)
            return replace(remedy, words=(f"{N_TRIALS}={most}",)) if most > self.n_trials else None
        if not all(self._exists(key) for key in given):
            return None
        changes = any(self._said(key) != text for key, text in given.items())
        return remedy if changes else None

    def _exists(self, key: str) -> bool:
        """Whether trials have the key; taken for granted where nothing of its block is fixed, and so known."""
        fixed = [*self.design.fixed, *(each for own in self.design.fixed_in.values() for each in own)]
        block = key.rpartition(".")[0]
        known = bool(block) and any(each.startswith(f"{block}.") for each in fixed)
        return not known or key in fixed or key in self.design.parameters

    def _said(self, key: str) -> str | None:
        """What a command line would say that a key is now; None where it is searched, or nobody knows."""
        said = {match["key"]: match["text"] for each in self.design.overrides if (match := _WORD.match(each))}
        if key in self.design.parameters:
            return None
        fixed = self.design.fixed
        return said.get(key) or (as_override(key, fixed[key]).partition("=")[2] if key in fixed else None)

    def _of_remedy(self, remedy: Remedy, arm: str | None) -> str:
        if remedy.what == "command":
            return shell_line(*remedy.words)
        if remedy.what == "trial":
            trials = {trial.number: trial for trial in self.design.trials(self.n_trials)}
            assert remedy.trial is not None, "a remedy for a trial names it"
            return self.of_trial(trials[remedy.trial].settings, remedy.words)
        longer = all(each.startswith("study.n_trials=") for each in remedy.words)
        if not longer and not _whole_words(self.design):
            return self._with_file(remedy.words, arm)
        name = self.design.name if longer else self._name(remedy.words)
        if longer and not _whole_words(self.design):
            return self._with_file(remedy.words, arm, name)
        return shell_line("python", self.program, "-m", *self._study_words(remedy.words, name))

    def _study_words(self, words: Sequence[str], name: str) -> list[str]:
        """The study as command-line words."""
        design = self.design
        swept = {**design.scientific, **design.nuisance, **design.repeat}
        roles = [f"study.roles.{key}=scientific" for key in design.scientific]
        roles += [f"study.roles.{key}=repeat" for key in design.repeat if key != "seed"]
        own = [sweep_override(key, each) for key, each in swept.items()]
        return _merged([*_merged(design.overrides, own), *roles, *self._study_keys(name)], words)

    def _study_keys(self, name: str) -> list[str]:
        design = self.design
        goal = [as_override("study.goal", design.goal)] if design.goal else []
        seed = [as_override("study.seed", design.seed)] if design.seed else []
        # Where all of a grid was run, all of the next one is: its size may be another.
        n_trials = [] if design.size == self.n_trials else [f"{N_TRIALS}={self.n_trials}"]
        return [as_override("study.name", name), *goal, *seed, *n_trials]

    def _with_file(self, words: Sequence[str], arm: str | None, name: str | None = None) -> str:
        """The study as a file, with its space as the words change it in the arm; the other words stay words."""
        sweeps, values = _split(words)
        design = _changed(self.design, sweeps, arm)
        text = yaml.safe_dump(_study_block(design), sort_keys=False, allow_unicode=True, width=120)
        name = name or self._name((text, *values))
        words = _without_searched(self.design.overrides, design)
        path = self.folder / "study" / f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}.yaml"
        self.files[path] = f"# Written by the report of study {self.design.name}.\n{text}"
        keys = [each for each in self._study_keys(name) if not each.startswith("study.goal=")]
        given = ["-m", "--config-dir", str(self.folder), f"study={path.stem}"]
        return shell_line("python", self.program, *given, *_merged([*words, *keys], values))

    def _name(self, study: tuple[str, ...]) -> str:
        """`demo-2` for the first other study, `demo-3` for the next; the same one keeps its name."""
        if study not in self._names:
            stem, _, number = self.design.name.rpartition("-")
            stem, count = (stem, int(number)) if stem and number.isdigit() else (self.design.name, 1)
            names = set(self._names.values())
            while (name := f"{stem}-{(count := count + 1)}") in names or self.taken(name):
                pass
            self._names[study] = name
        return self._names[study]


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


def _split(words: Sequence[str]) -> tuple[dict[str, Dimension], list[str]]:
    """The sweeps among the words, and the others."""
    sweeps, values = {}, []
    for each in words:
        key, _, text = each.partition("=")
        try:
            sweeps[key] = dimension_from_text(text, key)
        except InputError:
            values.append(each)
    return sweeps, values


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
    """A file of the config group `study`."""
    whole = design.plain()
    space = {key: whole[key] for key in SPACES if whole.get(key)}
    return {"defaults": ["_base_", "_self_"], "goal": design.goal, **space}
