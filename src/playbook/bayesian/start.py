"""What a Bayesian search begins with: a finished study, the space that it leaves to search, and its trials (B12).

The space is the refined one of the study's report: narrower around the best settings, with what hardly matters fixed.
Where the report refines nothing, it is the study's own. The trials told are those of the arm that lie in that space; of
what hardly matters they may have any value, since that is what it says. They are kept with the new study, so that the
old one may grow or go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playbook.analysis.rules.refine import refined
from playbook.analysis.study import Study, load_study
from playbook.config import difference
from playbook.errors import InputError
from playbook.study.arm import Arm
from playbook.study.bayesian import Bayesian, Told
from playbook.study.design import Design, Trial
from playbook.study.overrides import as_override, sweep_override
from playbook.study.refusals import fixed_with
from playbook.study.space import Choice, Dimension, Value, identity

FEWEST_POINTS = 8
POINTS_A_DIMENSION = 2
"""Settings that a model is told at least before it proposes one: twice the hyperparameters, and as many as are too few
to read below (B4). What the study before has not, the quasi-random sequence gives."""


@dataclass(frozen=True)
class Start:
    """An arm of a study, and the `space` to search next; `fixed` are what makes the arm, hardly matters, or was typed.

    Of what hardly matters, `indifferent`, the trials told may have had other values.
    """

    study: Study
    arm: Arm
    space: Mapping[str, Dimension]
    fixed: Mapping[str, Value]
    indifferent: frozenset[str]

    @property
    def folder(self) -> str:
        """Where the study is."""
        return str(self.study.path)


def read_start(given: str, typed: Mapping[str, Value], swept: Mapping[str, Dimension]) -> Start:
    """The study in the folder `given`; `typed` and `swept` keys choose the arm, and have the last word on the space.

    Raises:
        InputError: there is no study, it has no space, or several arms.
    """
    try:
        study = load_study(Path(given))
        design = study.design
        if design.listed_trials:
            raise InputError(f"{given} is a list of trials; a search goes on from a study with a space")
        if not study.outcomes:
            raise InputError(f"{given}: none of its trials has ended; there is nothing to begin with")
        arm = _arm(given, design, typed, swept)
    except InputError as error:
        raise InputError(f"study.start={error}") from None
    found = refined(study.tables(), arm.name) if arm.name in study.trials["arm"] else None
    narrowed, fixed = ({}, {}) if found is None else (found.narrowed, found.fixed)
    space = {key: narrowed.get(key, each) for key, each in arm.space.items() if key not in fixed and key not in typed}
    own = {key: value for key, value in typed.items() if key in {*arm.space, *arm.settings}}
    kept = {key: value for key, value in {**arm.settings, **fixed, **own}.items() if key not in swept}
    return Start(study, arm, {**space, **swept}, kept, frozenset(set(fixed) - {*typed, *swept}))


def _arm(given: str, design: Design, typed: Mapping[str, Value], swept: Mapping[str, Dimension]) -> Arm:
    """The one whose settings are those typed, and that searches what is swept."""
    arms = [
        arm
        for arm in design.arms
        if all(identity(arm.settings[key]) == identity(value) for key, value in typed.items() if key in arm.settings)
        and not any(key in arm.settings for key in swept)
    ]
    own = {key for arm in design.arms for key in arm.space}
    arms = [arm for arm in arms if all(key in arm.space for key in own & {*typed, *swept})] or arms
    if len(arms) == 1:
        return arms[0]
    words = [_words(arm, design) for arm in design.arms]
    raise InputError(
        f"{given} {'compares' if arms else 'has no such arm among'} {len(design.arms)} arms, and a search is of one;"
        f" choose it: {', or '.join(words[:4])}"
    )


def _words(arm: Arm, design: Design) -> str:
    """What to type for an arm: its settings, or what it alone searches."""
    others = [other for other in design.arms if other is not arm]
    words = [as_override(key, value) for key, value in arm.settings.items()]
    if any(other.settings.items() >= arm.settings.items() for other in others):
        alone = [key for key in arm.space if not any(key in other.space for other in others)]
        words += [f"'{sweep_override(key, arm.space[key])}'" for key in alone[:1]]
    return " ".join(words)


def with_start(design: Design, start: Start | None) -> Design:
    """The design with what its search begins with.

    Raises:
        InputError: the trials of the study that it begins with have other settings, or another objective.
    """
    told: tuple[Told, ...] = ()
    if start is not None:
        _refuse_other_settings(design, start)
        told = _told(design, start)
    empty = replace(design, bayesian=Bayesian())  # refused where it is not one space
    dimensions = sum(each.size != 1 for each in empty.arms[0].space.values())
    points = len({identity(each.settings) for each in told})
    first = max(0, max(FEWEST_POINTS, POINTS_A_DIMENSION * dimensions) - points)
    if design.size is not None:
        first = min(first, max(0, design.size // len(empty.arms[0].repeats) - points))
    return replace(design, bayesian=Bayesian("" if start is None else start.folder, told, first))


def _refuse_other_settings(design: Design, start: Start) -> None:
    there = start.study.design
    if there.objective != design.objective:
        one, other = there.objective, design.objective
        raise InputError(
            f"study.start={start.folder}: its trials are judged by {one.metric} ({one.mode}), and here by"
            f" {other.metric} ({other.mode}); leave objective.metric and objective.mode out"
        )
    trial = start.arm.settings_at([0])[0]
    known = {**there.fixed, **fixed_with(there, trial)}
    both = [key for key in known if key in design.fixed and key not in {*there.parameters, *design.parameters}]
    lines = difference({key: known[key] for key in both}, {key: design.fixed[key] for key in both})
    if lines:
        raise InputError(
            f"study.start={start.folder}: its trials have other settings ({'; '.join(lines)}), and a model is told"
            " trials of the settings that it proposes; leave these as they are there, or study.start out"
        )


def _told(design: Design, start: Start) -> tuple[Told, ...]:
    (arm,) = design.arms
    told = []
    for each in start.study.outcomes:
        if each.trial.arm != start.arm.name or each.result is None:
            continue
        settings = _in_space(each.trial, design, arm, start)
        if settings is not None:
            told.append(Told(each.trial.number, settings, each.result.objective if each.status == "complete" else None))
    return tuple(told)


def _in_space(trial: Trial, design: Design, arm: Arm, start: Start) -> dict[str, Value] | None:
    """A trial of the start as a setting of the space of `arm`; None where it lies outside."""
    there = {**start.study.design.fixed, **fixed_with(start.study.design, trial.settings), **trial.settings}
    fixed = {**design.fixed, **start.fixed, **arm.settings}
    for key, value in trial.settings.items():
        same = key in arm.space or key in start.study.design.repeat or key in start.indifferent
        if not same and not (key in fixed and identity(fixed[key]) == identity(value)):
            return None
    if any(key not in there or not _contains(each, there[key]) for key, each in arm.space.items()):
        return None
    return {key: there[key] for key in arm.space}


def _contains(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Choice):
        return any(identity(each) == identity(value) for each in dimension.values)
    return isinstance(value, int | float) and not isinstance(value, bool) and dimension.low <= value <= dimension.high
