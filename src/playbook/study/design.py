"""What a study tries: hyperparameters by their role, arms, and the sequence of trials that follows from them.

A design is a pure description. Trial number i is a function of the design alone, so a study can be stopped, moved and
made longer, and two machines agree on what trial 7 is.

Each setting of the scientific hyperparameters is an *arm* with a space of its own, since a hyperparameter of one name
under two optimizers is two hyperparameters (B3). `cases` are arms that one key cannot tell apart: without dropout, and
with dropout of a rate that is tuned (B2). Trials go round the arms, so that at every length of the study the arms
differ by at most one trial.

Arms whose spaces begin with the same dimensions share their quasi-random coordinates there, and arms of one space all
of them: their trials are pairs, and the difference of two arms has less of the luck of where the points fell. Each
arm's points are a randomised Halton set on their own, as every dimension has permutations that are independent of the
others'; a dimension after the first that differs shares nothing, since it stands beside other coordinates.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from playbook.errors import InputError
from playbook.randomness import fold_in
from playbook.renamed import with_current_names
from playbook.study.arm import Arm, product, values_of
from playbook.study.bayesian import Bayesian
from playbook.study.space import Choice, Dimension, Int, Value, dimension, identity
from playbook.validation import show

Role = Literal["scientific", "nuisance", "repeat"]
ONLY_ARM = "all"
"""The name of the arm of a study that has one."""
TRIALS_AN_ARM = 16
"""Where a space is continuous and nobody says how many."""
LARGEST_GRID = 10_000
LARGEST_STUDY = 100_000
"""Trials: folders are numbered with five digits."""
MOST_NAMED = 4
"""Arms in a line that refuses them."""
FIRST_KEYS = ("lr",)
"""Searched along the sequence's first dimensions, which are its most even ones: what nearly always matters most."""


@dataclass(frozen=True)
class Objective:
    """The number that ranks trials: a metric of `evals.csv` and its direction."""

    metric: str = "val/error"
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        if self.mode not in ("min", "max"):  # anything else would count as the other direction
            raise InputError(f"objective.mode={show(self.mode)}: allowed is one of min, max")


@dataclass(frozen=True)
class Conditional:
    """Hyperparameters that exist only in the arms where each key of `when` has one of its values."""

    when: Mapping[str, tuple[Value, ...]]
    space: Mapping[str, Dimension]

    def holds(self, settings: Mapping[str, Value]) -> bool:
        """Whether they exist where the scientific hyperparameters are set so; 1 and true are two values."""
        return all(_is_in(settings[key], values) for key, values in self.when.items())


@dataclass(frozen=True)
class Case:
    """An arm by name: the values that its keys have there, and the space of those that are searched there."""

    settings: Mapping[str, Value]
    space: Mapping[str, Dimension]

    def plain(self) -> dict[str, Any]:
        """As `study.yaml` holds it: a value, or a range or list, by key."""
        return {**self.settings, **{key: each.plain() for key, each in self.space.items()}}

    @classmethod
    def of(cls, given: Mapping[str, Any], key: str) -> Case:
        """The case that `plain` gave, which stands at `key`."""
        space = {name: dimension(each, f"{key}.{name}") for name, each in given.items() if _is_space(each)}
        return cls({name: each for name, each in given.items() if name not in space}, space)


def _is_space(given: Any) -> bool:
    return isinstance(given, (list, tuple)) or (isinstance(given, Mapping) and "min" in given)


@dataclass(frozen=True)
class Trial:
    """One setting of every hyperparameter that the study varies, by config key."""

    number: int
    arm: str
    settings: Mapping[str, Value]

    @property
    def folder(self) -> str:
        """The name of its folder within the study's."""
        return folder_name(self.number)


def folder_name(number: int) -> str:
    """`trial_00007`."""
    return f"trial_{number:05d}"


@dataclass(frozen=True)
class Design:
    """A study as it is designed; `study.yaml` holds it.

    `overrides` are those that every trial gets (`optimizer=adam`), `fixed` the settings that follow from them and
    are the same for all trials: the caveats of the study's conclusion (B2). `fixed_in` has those that are fixed
    within an arm and differ between arms. `listed_trials` is a list of trials instead of a space. `follows` names
    the study of which this is the next round (C4). `points` says whether arms share coordinates; those of studies
    that began before they did are `per_arm`. Where a model proposes the trials, `bayesian` has them.
    """

    name: str
    objective: Objective = field(default_factory=Objective)
    goal: str = ""
    follows: str | None = None
    seed: int = 0
    points: Literal["shared", "per_arm"] = "shared"
    scientific: Mapping[str, Dimension] = field(default_factory=dict)
    cases: Mapping[str, Case] = field(default_factory=dict)
    nuisance: Mapping[str, Dimension] = field(default_factory=dict)
    conditional: tuple[Conditional, ...] = ()
    repeat: Mapping[str, Choice] = field(default_factory=dict)
    listed_trials: tuple[Mapping[str, Value], ...] = ()
    overrides: tuple[str, ...] = ()
    fixed: Mapping[str, Value] = field(default_factory=dict)
    fixed_in: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    bayesian: Bayesian | None = None

    def __post_init__(self) -> None:
        _refuse_two_roles(self)
        _refuse_cases_that_are_none(self)
        _refuse_conditions_on_nothing(self)
        _refuse_arms_without_a_name(self)
        if self.listed_trials:
            if self._has_a_space:
                raise InputError("study.trials: a study has a list of trials or a space, not both")
            if len({identity(each) for each in self.listed_trials}) < len(self.listed_trials):
                raise InputError("study.trials: a trial is there twice; for another run of it, give it another seed")
        elif not self._has_a_space:
            raise InputError(
                "nothing is searched: sweep a key, such as lr=0.01,0.1 or 'lr=tag(log,interval(1e-4,1e-1))',"
                " or choose a study, such as study=learning_rate"
            )
        if self.bayesian is not None:
            _refuse_no_one_space(self, self.bayesian)

    @property
    def _has_a_space(self) -> bool:
        return bool(self.scientific or self.cases or self.nuisance or self.conditional or self.repeat)

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """Every setting of the finite scientific hyperparameters with every case, in the order of their values."""
        finite = {key: each for key, each in self.scientific.items() if each.size is not None}
        rest = {key: each for key, each in self.scientific.items() if key not in finite}
        repeats = tuple(product(self.repeat))
        arms = []
        for settings, (case_name, case) in itertools.product(product(finite), self._cases):
            labels = [f"{key}={show(value)}" for key, value in settings.items()] + ([case_name] if case_name else [])
            name = ",".join(labels) or ONLY_ARM
            space = {**rest, **self.nuisance}
            for conditional in self.conditional:
                if conditional.holds(settings):
                    space.update(conditional.space)
            space.update(case.space)
            if self.points == "shared":
                space = {key: space[key] for key in sorted(space, key=lambda key: key not in FIRST_KEYS)}
            arms.append(Arm(name, {**settings, **case.settings}, space, repeats, self._seeds(name, space)))
        return tuple(arms)

    @property
    def _cases(self) -> Sequence[tuple[str, Case]]:
        return list(self.cases.items()) or [("", Case({}, {}))]

    def _seeds(self, arm: str, space: Mapping[str, Dimension]) -> tuple[int, ...]:
        """Of each dimension's permutations: by the space up to there, or all by the arm's name."""
        if self.points == "per_arm":
            return (fold_in(self.seed, _hash(arm)),) * len(space)
        dimensions = [[key, each.plain()] for key, each in space.items()]
        return tuple(
            fold_in(self.seed, _hash(json.dumps(dimensions[: place + 1], default=str)))
            for place in range(len(dimensions))
        )

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The config keys that the study varies: the columns of `trials.csv`."""
        if self.listed_trials:
            return tuple(dict.fromkeys(key for settings in self.listed_trials for key in settings))
        of_cases = [key for each in self.cases.values() for key in (*each.settings, *each.space)]
        conditional = [key for each in self.conditional for key in each.space]
        return tuple(dict.fromkeys([*self.scientific, *of_cases, *self.nuisance, *conditional, *self.repeat]))

    def role(self, key: str) -> Role:
        """What the study varies a hyperparameter for (B2); one that a case searches is tuned there."""
        set_by_cases = any(key in each.settings for each in self.cases.values())
        if key in self.scientific or (set_by_cases and not any(key in each.space for each in self.cases.values())):
            return "scientific"
        return "repeat" if key in self.repeat else "nuisance"

    @property
    def size(self) -> int | None:
        """How many different trials there are; None for a continuum."""
        if self.listed_trials:
            return len(self.listed_trials)
        sizes = [arm.size for arm in self.arms]
        return None if None in sizes else sum(each for each in sizes if each)

    @property
    def default_n_trials(self) -> int:
        """All trials of a finite space; 16 an arm where one is continuous.

        Raises:
            InputError: the grid is too large to be meant.
        """
        if self.size is None:
            return sum(min(TRIALS_AN_ARM, arm.size or TRIALS_AN_ARM) for arm in self.arms)
        if self.size > LARGEST_GRID:
            raise InputError(
                f"study.n_trials: the full grid has {self.size} trials; say how many with study.n_trials=64"
            )
        return self.size

    def trials(self, n_trials: int) -> list[Trial]:
        """The first `n_trials` trials, those that are known. A longer study begins with the shorter one.

        Raises:
            InputError: the space has fewer points.
        """
        if not 1 <= n_trials <= LARGEST_STUDY:
            raise InputError(f"study.n_trials={n_trials}: allowed is 1 to {LARGEST_STUDY}")
        if self.size is not None and n_trials > self.size:
            raise InputError(
                f"study.n_trials={n_trials}: the space has {self.size} different trials; allowed is 1 to {self.size}"
            )
        if self.listed_trials:
            return [Trial(i, ONLY_ARM, settings) for i, settings in enumerate(self.listed_trials[:n_trials])]
        if self.bayesian is not None:
            return self._known_trials(self.bayesian)[:n_trials]
        arms = list(itertools.islice(_round(self.arms), n_trials))
        counts: dict[str, int] = {}
        for arm in arms:
            counts[arm.name] = counts.get(arm.name, 0) + 1
        settings = {arm.name: iter(arm.settings_at(range(counts.get(arm.name, 0)))) for arm in self.arms}
        return [Trial(number, arm.name, next(settings[arm.name])) for number, arm in enumerate(arms)]

    def _known_trials(self, search: Bayesian) -> list[Trial]:
        """Quasi-random points that nothing is known of yet, then those proposed, each with every repeat."""
        (arm,) = self.arms
        points = [dict(each) for each in search.proposed]
        if search.num_quasi_random:
            told = {identity(each.settings) for each in search.told}
            alone = replace(arm, settings={}, repeats=({},))
            most = search.num_quasi_random + len(told)
            first = alone.settings_at(range(most if alone.size is None else min(most, alone.size)))
            points = [each for each in first if identity(each) not in told][: search.num_quasi_random] + points
        settings = [{**arm.settings, **point, **repeat} for point in points for repeat in arm.repeats]
        return [Trial(number, arm.name, each) for number, each in enumerate(settings)]

    def unknown_trials(self, n_trials: int) -> list[Trial]:
        """Stand-ins for those of the first `n_trials` trials that nobody has proposed yet: for what they cost."""
        if self.bayesian is None:
            return []
        (arm,) = self.arms
        known = len(self.trials(n_trials))
        return [Trial(number, arm.name, arm.settings_at([0])[0]) for number in range(known, n_trials)]

    def case_of(self, arm: str) -> str:
        """The name of an arm's case, which its own name ends with; empty where there are no cases."""
        return arm.rpartition(",")[2] if self.cases else ""

    def seed_of(self, trial: Trial) -> Any:
        """The seed that a trial is given, by its settings or by what is fixed; None where there is none."""
        return trial.settings.get("seed", self.fixed.get("seed"))

    def space_of(self, arm: str) -> Mapping[str, Dimension]:
        """What each hyperparameter of an arm may be, the scientific and repeated ones too."""
        if self.listed_trials:
            values = {key: [trial.get(key) for trial in self.listed_trials] for key in self.parameters}
            return {
                key: Choice(tuple({identity(value): value for value in given}.values()))
                for key, given in values.items()
            }
        (found,) = (each for each in self.arms if each.name == arm)
        return {**self.scientific, **found.space, **self.repeat}

    def plain(self) -> dict[str, Any]:
        """As `study.yaml` holds it."""
        return {
            "name": self.name,
            "goal": self.goal,
            **({"follows": self.follows} if self.follows is not None else {}),
            "seed": self.seed,
            **({"points": self.points} if self.points != "per_arm" else {}),  # which studies of before do not say
            "objective": {"metric": self.objective.metric, "mode": self.objective.mode},
            "scientific": {key: each.plain() for key, each in self.scientific.items()},
            **({"cases": {name: each.plain() for name, each in self.cases.items()}} if self.cases else {}),
            "nuisance": {key: each.plain() for key, each in self.nuisance.items()},
            "conditional": [
                {
                    "when": {key: list(values) for key, values in each.when.items()},
                    "space": {key: inner.plain() for key, inner in each.space.items()},
                }
                for each in self.conditional
            ],
            "repeat": {key: each.plain() for key, each in self.repeat.items()},
            "trials": [dict(each) for each in self.listed_trials],
            "overrides": list(self.overrides),
            "fixed": dict(self.fixed),
            "fixed_in": {arm: dict(each) for arm, each in self.fixed_in.items()},
            **({} if self.bayesian is None else {"bayesian": self.bayesian.plain()}),
        }

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Design:
        """The design that `plain` gave."""

        def space(block: Mapping[str, Any], key: str) -> dict[str, Dimension]:
            return {name: dimension(each, f"{key}.{name}") for name, each in block.items()}

        return cls(
            name=given["name"],
            goal=given["goal"],
            follows=given.get("follows"),
            seed=given["seed"],
            objective=Objective(**given["objective"]),
            points=given.get("points", "per_arm"),
            scientific=space(given["scientific"], "scientific"),
            cases={name: Case.of(each, f"cases.{name}") for name, each in given.get("cases", {}).items()},
            nuisance=space(given["nuisance"], "nuisance"),
            conditional=tuple(
                Conditional(
                    {key: tuple(values) for key, values in each["when"].items()},
                    space(each["space"], f"conditional[{place}].space"),
                )
                for place, each in enumerate(given["conditional"])
            ),
            repeat={key: Choice(tuple(values)) for key, values in given["repeat"].items()},
            listed_trials=tuple(given["trials"]),
            overrides=tuple(given["overrides"]),
            fixed=with_current_names(given["fixed"]),
            fixed_in=with_current_names(given["fixed_in"]),
            bayesian=Bayesian.of(given["bayesian"]) if "bayesian" in given else None,
        )

    def with_fixed(self, fixed: Mapping[str, Value], fixed_in: Mapping[str, Mapping[str, Value]]) -> Design:
        """The design with what its fixed settings turned out to be."""
        return replace(self, fixed=fixed, fixed_in=fixed_in)


def _is_in(value: Value, values: Sequence[Value]) -> bool:
    return identity(value) in map(identity, values)


def _round(arms: Sequence[Arm]) -> Iterator[Arm]:
    """One trial of each arm in turn; an arm whose points are all taken is passed over."""
    for index in itertools.count():
        left = [arm for arm in arms if arm.size is None or index < arm.size]
        if not left:
            return
        yield from left


def _refuse_two_roles(design: Design) -> None:
    roles: dict[str, Mapping[str, Any]] = {
        "scientific": design.scientific,
        "cases": {key: each for case in design.cases.values() for key, each in case.plain().items()},
        "nuisance": design.nuisance,
        "repeat": design.repeat,
        **{f"conditional[{place}].space": each.space for place, each in enumerate(design.conditional)},
    }
    for (one, there), (other, here) in itertools.combinations(roles.items(), 2):
        if not (one.startswith("conditional") and other.startswith("conditional")):
            for key in there:
                if key in here:
                    raise InputError(
                        f"study.{one}.{key}: {key} is in study.{other} too; a hyperparameter has one role (B2)"
                    )


def _refuse_no_one_space(design: Design, search: Bayesian) -> None:
    if design.listed_trials:
        raise InputError("study.trials: hydra/sweeper=bayesian searches a space; a list of trials has none")
    if len(design.arms) > 1:
        names = ", ".join(each.name for each in design.arms[:MOST_NAMED])
        raise InputError(
            f"hydra/sweeper=bayesian searches one space, and here are {len(design.arms)} arms ({names}); choose one on"
            f" the command line, such as {design.arms[0].name.replace(',', ' ')}"
        )
    if not any(each.size != 1 for each in design.arms[0].space.values()):
        raise InputError(
            "hydra/sweeper=bayesian: nothing is searched but seeds; sweep a key, such as"
            " 'lr=tag(log,interval(1e-4,1e-1))'"
        )
    keys = set(design.arms[0].space)
    for each in (*search.proposed, *(told.settings for told in search.told)):
        if set(each) != keys:
            raise InputError(
                f"bayesian: a point has {', '.join(sorted(each))}; the space has {', '.join(sorted(keys))}"
            )


def _refuse_cases_that_are_none(design: Design) -> None:
    if design.points not in ("shared", "per_arm"):
        raise InputError(f"points={show(design.points)}: allowed is one of shared, per_arm")
    if len(design.cases) == 1:
        raise InputError("study.cases: one case is nothing to compare; name another, or put its keys elsewhere")
    for name, case in design.cases.items():
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name):
            raise InputError(f"study.cases.{name}: a case's name has letters, digits and . _ + -")
        if not case.settings and not case.space:
            raise InputError(f"study.cases.{name}: empty; give its keys their values there, {{model.dropout: 0.0}}")


def _refuse_arms_without_a_name(design: Design) -> None:
    sizes = [each.size or 1 for each in design.scientific.values()]
    if math.prod(sizes) > LARGEST_GRID:
        raise InputError(f"study.scientific: {math.prod(sizes)} arms; allowed are up to {LARGEST_GRID}")
    for key, each in design.scientific.items():
        shown = [show(value) for value in each.values] if isinstance(each, Choice) else []
        if alike := [text for text in shown if shown.count(text) > 1]:
            raise InputError(f"study.scientific.{key}: two values are both shown as {alike[0]}; arms go by that name")


def _refuse_conditions_on_nothing(design: Design) -> None:
    for place, each in enumerate(design.conditional):
        key_of = f"study.conditional[{place}]"
        if not each.space:
            raise InputError(f"{key_of}.space: empty; name the hyperparameters that exist there")
        if not each.when:
            raise InputError(
                f"{key_of}.when: empty; name a scientific hyperparameter and its value, such as {{optimizer: adam}}"
            )
        for key, values in each.when.items():
            known = design.scientific.get(key)
            if not isinstance(known, (Choice, Int)):
                names = ", ".join(key for key, other in design.scientific.items() if other.size) or "none"
                raise InputError(
                    f"{key_of}.when.{key}: a condition is on a scientific hyperparameter with a list of values"
                    f" (here: {names}) or on a fixed setting"
                )
            for value in values:
                if not _is_in(value, values_of(known)):
                    shown = ", ".join(show(each) for each in values_of(known))
                    raise InputError(f"{key_of}.when.{key}={show(value)}: no arm has this value; there are {shown}")
        for other in design.conditional[:place]:
            if set(other.space) & set(each.space) and _can_hold_together(other.when, each.when):
                both = ", ".join(sorted(set(other.space) & set(each.space)))
                raise InputError(f"{key_of}.space: {both} is defined for the same arm by an earlier condition")


def _can_hold_together(one: Mapping[str, tuple[Value, ...]], other: Mapping[str, tuple[Value, ...]]) -> bool:
    return all(any(_is_in(value, other[key]) for value in values) for key, values in one.items() if key in other)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
