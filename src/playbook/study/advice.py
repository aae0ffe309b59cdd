"""What the playbook says about a design before anything runs: what it forbids, and what it would do otherwise.

Pure functions of a design and its number of trials. A refusal is for what no result could mend, such as `max_steps`
among the hyperparameters; advice is for what makes the answer weaker than it could be, and the study runs all the same.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from playbook.config import NOT_PART_OF_A_TRIAL
from playbook.study.arm import Arm
from playbook.study.bayesian import Bayesian
from playbook.study.design import ONLY_ARM, Design, Role
from playbook.study.space import Choice, Dimension, Float
from playbook.text import listed
from playbook.validation import show

LEVELS = 25 ** (1 / 3)
"""Points a dimension below which a study is thin (B4). Nobody says how many are enough; E2 lets Adam's budget carry a
second hyperparameter from 10 trials on and a third from 25, which is 10^(1/2) = 3.2 and 25^(1/3) = 2.9 points a
dimension. With n of them, one point is expected in the box that is the best n-th of every axis."""

ADAM_FROM = {"optimizer.beta1": 10, "optimizer.epsilon": 25, "optimizer.beta2": 75}
"""Points an arm from which Adam's hyperparameters are searched besides lr (E2). Its "far more than 25" is read as 75,
which are `LEVELS` points in each of four dimensions."""

USUAL = {
    "optimizer.beta1": Float(0.5, 0.99, "log_one_minus"),
    "optimizer.epsilon": Float(1e-10, 1e-2, "log"),
    "optimizer.beta2": Float(0.9, 0.9999, "log_one_minus"),
}
"""The ranges that `conf/study/tune_optimizer.yaml` searches."""

FEWEST_POINTS = 8
"""Of a continuous space: with fewer, an arm's best is luck, and neither edges (B5) nor best-of-n (B6) can be read."""
FEWEST_SEEDS = 3
"""Two values have a spread, but one with a single degree of freedom (B11)."""

_NEAR_ONE = ("momentum", "beta", "beta1", "beta2", "rho", "ema_decay")
_MAGNITUDES = ("lr", "weight_decay", "epsilon", "clip_norm")
_AS_OPTIMIZERS = "as conf/study/optimizers.yaml does in study.conditional"
_NOISE = ("seed", "data.split_seed")
_JUDGED_BY = ("task", "data", "data.path", "data.val_fraction", "data.test_fraction")
_SAME_NUMBERS = (
    *NOT_PART_OF_A_TRIAL,
    "keep_best",
    "data.in_memory",
    "data.num_workers",
    "trainer.device",
    "trainer.num_devices",
    "trainer.num_threads",
)
"""Keys that say where a trial runs, reads and writes. `trainer.precision` and callbacks change what it computes."""


@dataclass(frozen=True)
class Advice:
    """What the playbook would do otherwise, the rule that says so, and the config key that it is about, if one."""

    rule: str
    message: str
    key: str | None = None


@dataclass(frozen=True)
class ArmPlan:
    """An arm with its number of trials, and of different points of its space, each of which its repeats share."""

    arm: Arm
    trials: int
    points: int

    @property
    def dimensions(self) -> int:
        """How many hyperparameters are searched."""
        return num_dimensions(self.arm.space)

    @property
    def points_a_dimension(self) -> float:
        """Levels of a full grid with as many points."""
        return self.points ** (1 / max(self.dimensions, 1))

    @property
    def is_whole(self) -> bool:
        """Whether all of a finite space is tried."""
        return self.arm.size is not None and self.trials >= self.arm.size


def num_dimensions(space: Mapping[str, Dimension]) -> int:
    """How many hyperparameters of a space are searched: those with more than one value."""
    return sum(each.size != 1 for each in space.values())


def arm_plans(design: Design, n_trials: int) -> list[ArmPlan]:
    """The arms of a study of `n_trials` trials; a list of trials has one, which searches nothing."""
    if design.listed_trials:
        return [ArmPlan(Arm(ONLY_ARM, {}, {}), n_trials, n_trials)]
    trials = Counter(trial.arm for trial in [*design.trials(n_trials), *design.unknown_trials(n_trials)])
    return [ArmPlan(arm, trials[arm.name], math.ceil(trials[arm.name] / len(arm.repeats))) for arm in design.arms]


def refusals(design: Design) -> list[str]:
    """A line for each thing that the playbook forbids: what was given, the rule, what to type instead.

    In a list of trials, which searches nothing, only what would make them incomparable is refused.
    """
    lines = []
    metric = design.objective.metric
    if metric.startswith("test/"):
        lines.append(
            f"objective.metric={metric}: the test split is looked at once, when exploration has ended (B12);"
            f" objective.metric=val/{metric.removeprefix('test/')}"
        )
    for key, role, dimension in _searched(design):
        reason = _not_a_hyperparameter(key) or (
            None if design.listed_trials else _not_in_this_role(key, role, dimension)
        )
        if reason:
            lines.append(f"{_word(key, dimension)}: {reason}")
    return list(dict.fromkeys(lines))


def advice(design: Design, n_trials: int) -> list[Advice]:
    """What would make the answer stronger, in the order of the keys and then of the arms."""
    if design.listed_trials:
        return []
    if design.bayesian is not None:  # how densely points lie is no longer for the design to say
        return [*_about_exploration(design.bayesian), *_about_scales(design)]
    plans = arm_plans(design, n_trials)
    found = [*_about_scales(design), *_about_roles(design), *_about_repeats(design), *_about_fairness(plans)]
    found += _said_of_arms(plans, [(plan, each) for plan in plans for each in _about_arm(design, plan, len(plans))])
    return list(dict.fromkeys(found))


def _searched(design: Design) -> Iterator[tuple[str, Role, Dimension]]:
    """Every key that the study varies, with its role and its values; a conditional one for each of its spaces."""
    if design.listed_trials:
        yield from ((key, "nuisance", each) for key, each in design.space_of(ONLY_ARM).items())
    for key, each in design.scientific.items():
        yield key, "scientific", each
    for key, each in design.repeat.items():
        yield key, "repeat", each
    of_cases = (case.space for case in design.cases.values())
    for space in (design.nuisance, *of_cases, *(conditional.space for conditional in design.conditional)):
        for key, each in space.items():
            yield key, "nuisance", each


def _not_a_hyperparameter(key: str) -> str | None:
    """Why a key has the same value in all trials of any study, and what to type."""
    if key == "trainer" or _is_under(key, _SAME_NUMBERS):
        return f"this says where and how a trial runs, not what it computes (B2); one value for all: {key}=<value>"
    if _is_under(key, ("objective",)):
        return (
            "trials are ranked by one number (B3), and the report ranks them by another without a new trial (E3);"
            f" one value for all: {key}=<value>"
        )
    return None


def _not_in_this_role(key: str, role: Role, dimension: Dimension) -> str | None:
    """Why a key cannot have this role in a search, and what to type."""
    if key == "max_steps":
        return "never tuned inside a study: longer is nearly always better (C1); a study for each: max_steps=<value>"
    if key == "eval_every":
        return (
            "the objective is the best over the evaluations, so trials with more of them win (D2);"
            " one value for all: eval_every=<value>"
        )
    if key == "batch_size" and role != "scientific":
        return (
            "not a hyperparameter for validation performance (A8); fix it, batch_size=<value>,"
            " or ask about it: study.roles.batch_size=scientific"
        )
    if key in _NOISE and role != "repeat":
        noise = "the best seed is luck" if key == "seed" else "another split is another validation set"
        if isinstance(dimension, Choice):
            return f"{noise} (B11); repeat every trial with each of them: study.roles.{key}=repeat"
        return f"{noise} (B11); fix it, {key}=0, or repeat every trial: {key}=0,1,2 study.roles.{key}=repeat"
    if _is_under(key, _JUDGED_BY, only_itself=True) and role == "nuisance":
        return (
            "trials judged by different data or losses cannot be ranked together (B3); fix it,"
            f" or compare: study.roles.{key}=scientific"
        )
    return None


def _about_exploration(search: Bayesian) -> Iterator[Advice]:
    """What is learned of a space from points that chase its best one is little (B12, E3)."""
    if not search.told:
        yield Advice(
            "B12",
            "explore with quasi-random points first, which say what matters and where the space ends; then go on from"
            " that study with study.start=<its folder>",
        )


def _about_scales(design: Design) -> Iterator[Advice]:
    """Ranges whose scale spends most points where nothing changes (A3, E3)."""
    for key, role, dimension in _searched(design):
        name = key.rpartition(".")[2]
        if role == "repeat" or isinstance(dimension, Choice):
            continue
        if name in _NEAR_ONE and isinstance(dimension, Float):
            if dimension.scale != "log_one_minus" and dimension.high >= 0.9 and 0 <= dimension.low < 0.99:
                high = min(dimension.high, 0.999)
                if dimension.scale == "log" or (1 - dimension.low) / (1 - high) > 10.01:
                    better = Float(dimension.low, high, "log_one_minus")
                    message = f"{name} is felt as 1 - {name}, by its order of magnitude: {_typed(key, better)}"
                    yield Advice("A3", message, key)
        elif dimension.scale == "linear" and dimension.high > 0:
            low, high = dimension.low, dimension.high
            if low > 0 and high / low >= 100:
                message = (
                    f"nine in ten points of a linear scale from {low:g} to {high:g} are above {high / 10:g}:"
                    f" {_typed(key, replace(dimension, scale='log'))}"
                )
                yield Advice("E3", message, key)
            elif low == 0 and name in _MAGNITUDES and isinstance(dimension, Float):
                better = Float(high / 1e4, high, "log")
                yield Advice("E3", f"{name} is felt by its order of magnitude: {_typed(key, better)}", key)


def _about_roles(design: Design) -> Iterator[Advice]:
    """What lr must do where something that it interacts with is compared (A8, B2, B3), and grids (E3)."""
    compared = [key for key in design.scientific if key not in _JUDGED_BY]
    if "optimizer" in compared and isinstance(design.scientific["optimizer"], Choice):
        shared = [key for key in design.nuisance if key == "lr" or key.startswith("optimizer.")]
        if shared:
            message = f"{listed(shared)} of two optimizers are different hyperparameters; give each optimizer its own"
            yield Advice("B3", f"{message}, {_AS_OPTIMIZERS}", shared[0])
    if isinstance(design.nuisance.get("optimizer"), Choice):
        message = (
            "the choice of optimizer is scientific or fixed, as each needs its own lr: study.roles.optimizer=scientific"
        )
        yield Advice("B2", message, "optimizer")
    if compared and "lr" not in compared:
        # Another app may have no lr at all; what is fixed is unknown of a design that nothing was composed from.
        known = [design.fixed, *design.fixed_in.values()]
        has_lr = not design.fixed or any("lr" in fixed for fixed in known)
        without = [arm for arm in design.arms if "lr" not in arm.space] if has_lr else []
        if without:
            rule = "A8" if "batch_size" in compared else "B2"
            where = "" if len(without) == len(design.arms) else f" where {_names(without)}"
            own = f"give each optimizer its own range, {_AS_OPTIMIZERS}"
            remedy = own if "optimizer" in compared else f"make it nuisance: {_typed('lr', _around(design))}"
            yield Advice(rule, f"the best lr depends on {listed(compared)}, yet it is fixed{where}; {remedy}", "lr")
    grid = [
        key for key, each in design.nuisance.items() if isinstance(each, Choice) and each.size >= 3 and each.is_ordered
    ]
    if len(grid) >= 2:
        points = math.prod(design.nuisance[key].size or 1 for key in grid)
        message = (
            f"a grid over {listed(grid)} tries few values of each; {points} quasi-random points try {points}:"
            f" {_typed(grid[0], _range(design.nuisance[grid[0]]))}"
        )
        yield Advice("E3", message, grid[0])


def _about_repeats(design: Design) -> Iterator[Advice]:
    for key, each in design.repeat.items():
        if len(each.values) < FEWEST_SEEDS:
            message = f"{len(each.values)} of them say little about the noise; {FEWEST_SEEDS} or more: {key}=0,1,2"
            yield Advice("B11", message, key)


def _about_fairness(plans: list[ArmPlan]) -> Iterator[Advice]:
    """Arms whose best is not comparable, since one was searched less well than another (B3)."""
    fewest, most = min(plans, key=lambda plan: plan.trials), max(plans, key=lambda plan: plan.trials)
    if most.trials - fewest.trials > 1:
        message = (
            f"{fewest.trials} trials where {fewest.arm.name}, {most.trials} where {most.arm.name}:"
            " a best of more is better by luck"
        )
        yield Advice("B3", message)
    elif fewest.trials == 0:
        message = f"{sum(not plan.trials for plan in plans)} of {len(plans)} arms have no trial;"
        yield Advice("B3", f"{message} {_n_trials(len(plans) * FEWEST_POINTS)}")
    least, largest = min(plans, key=lambda plan: plan.dimensions), max(plans, key=lambda plan: plan.dimensions)
    if largest.dimensions - least.dimensions >= 2:
        message = (
            f"as many points search {largest.dimensions} hyperparameters where {largest.arm.name} and"
            f" {least.dimensions} where {least.arm.name}: the comparison favours the latter"
        )
        yield Advice("B3", message)
    for key in dict.fromkeys(key for plan in plans for key in plan.arm.space):
        widths = [(_width(plan.arm.space[key]), plan) for plan in plans if key in plan.arm.space]
        (narrow, at_least), (wide, at_most) = min(widths, key=_first), max(widths, key=_first)
        if 0 < 2 * narrow <= wide:
            message = (
                f"{key} is searched over {wide:.1f} decades where {at_most.arm.name}"
                f" and {narrow:.1f} where {at_least.arm.name}: the narrower arm may miss its best"
            )
            yield Advice("B3", message, key)


def _about_arm(design: Design, plan: ArmPlan, num_arms: int) -> Iterator[Advice]:
    """What holds for one arm; the same of several is said once."""
    space, points = plan.arm.space, plan.points
    scale_up = num_arms * len(plan.arm.repeats)
    lr = space.get("lr")
    if isinstance(lr, Float) and 0 < _width(lr) < 1:
        message = f"lr from {lr.low:g} to {lr.high:g} is less than a decade: wide enough only for a refined space"
        yield Advice("B4", message, "lr")
    too_many = list(_too_many_for_adam(plan))
    if too_many:
        needed = max(ADAM_FROM[key] for key in too_many)
        message = (
            f"{points} points can carry {listed(_affordable(points))}; fix {listed(too_many)},"
            f" or {_n_trials(needed * scale_up)}"
        )
        yield Advice("E2", message, too_many[0])
    if plan.trials == 0 or plan.is_whole:
        return
    if plan.arm.size is None and points < FEWEST_POINTS:
        message = f"{points} points are too few to read; {FEWEST_POINTS} or more: {_n_trials(FEWEST_POINTS * scale_up)}"
        yield Advice("B4", message)
    rest = {key: each for key, each in space.items() if key not in too_many}
    needed = min(_enough(rest), plan.arm.size or _enough(rest))
    dimensions = num_dimensions(rest)
    if points < needed and dimensions > 1:
        message = (
            f"{points} points for {dimensions} hyperparameters are {points ** (1 / dimensions):.1f} a dimension; about"
            f" 3 are wanted, as E2 wants them of Adam's: fix {dimensions - _carried(points)} of them,"
            f" or {_n_trials(needed * scale_up)}"
        )
        yield Advice("B4", message)
    if key := _next_of_adam(design, plan):
        message = f"{points} points can carry {key} as well: "
        if num_arms == 1 or key in design.fixed:
            message += f"{_typed(key, USUAL[key])}, or study=tune_optimizer"
        else:
            message += f"in study.conditional, {_typed(key, USUAL[key])}"
        yield Advice("E2", message, key)


def _too_many_for_adam(plan: ArmPlan) -> Iterator[str]:
    """What is searched of Adam's and the budget does not carry; epsilon alone may be RMSProp's."""
    if "optimizer.beta1" in plan.arm.space or "optimizer.beta2" in plan.arm.space:
        for key, from_points in ADAM_FROM.items():
            if key in plan.arm.space and plan.points < from_points:
                yield key


def _next_of_adam(design: Design, plan: ArmPlan) -> str | None:
    """What the budget carries of Adam's beside all that is searched, and is fixed."""
    space = plan.arm.space
    exist = [key for key in ADAM_FROM if key in space or _is_fixed(design, plan.arm, key)]
    if "lr" not in space or "optimizer.beta1" not in exist:
        return None
    for key in exist:
        if key not in space and key in _affordable(plan.points) and _enough({**space, key: USUAL[key]}) <= plan.points:
            return key
    return None


def _affordable(points: int) -> list[str]:
    """What a budget can search of Adam's hyperparameters (E2)."""
    return ["lr", *(key for key, from_points in ADAM_FROM.items() if points >= from_points)]


def _enough(space: Mapping[str, Dimension]) -> int:
    """Points for `LEVELS` a dimension, or all where a dimension has fewer values."""
    return math.ceil(math.prod(min(LEVELS, each.size or LEVELS) for each in space.values()) - 1e-9)


def _carried(points: int) -> int:
    """Continuous hyperparameters that so many points can carry, at least one."""
    return max(1, math.floor(math.log(max(points, 1)) / math.log(LEVELS) + 1e-9))


def _said_of_arms(plans: list[ArmPlan], found: list[tuple[ArmPlan, Advice]]) -> list[Advice]:
    """Each piece of advice once, with the arms that it holds for unless these are all."""
    arms: dict[Advice, list[Arm]] = {}
    for plan, each in found:
        arms.setdefault(each, []).append(plan.arm)
    return [
        each if len(held) == len(plans) else replace(each, message=f"where {_names(held)}: {each.message}")
        for each, held in arms.items()
    ]


def _is_fixed(design: Design, arm: Arm, key: str) -> bool:
    """Whether a key exists in an arm and has one value there; `fixed_in` goes by the groups among an arm's settings."""
    own = {f"{name}={show(value)}" for name, value in arm.settings.items()}
    return key in design.fixed or any(
        key in fixed and own.issuperset(label.split(",")) for label, fixed in design.fixed_in.items()
    )


def _around(design: Design) -> Float:
    """Four decades of lr, two on either side of the fixed one."""
    lr = design.fixed.get("lr", 0.01)
    return Float(float(f"{lr / 100:.2g}"), float(f"{lr * 100:.2g}"), "log")


def _range(grid: Dimension) -> Float:
    """The range of a grid of numbers, on the scale of its steps."""
    assert isinstance(grid, Choice)
    low, high = float(min(grid.values)), float(max(grid.values))
    return Float(low, high, "log" if low > 0 and high / low >= 10 else "linear")


def _width(dimension: Dimension) -> float:
    """Decades of a range of positive numbers, of 1 − x where that is the scale; 0 where there are none to speak of."""
    if isinstance(dimension, Choice):
        return 0.0
    if dimension.scale == "log_one_minus":
        return math.log10((1 - dimension.low) / (1 - dimension.high))
    return math.log10(dimension.high / dimension.low) if dimension.low > 0 else 0.0


def _is_under(key: str, parents: tuple[str, ...], only_itself: bool = False) -> bool:
    return any(key == parent or (not only_itself and key.startswith(f"{parent}.")) for parent in parents)


def _first(pair: tuple[float, ArmPlan]) -> float:
    return pair[0]


def _names(arms: list[Arm]) -> str:
    return listed([arm.name for arm in arms])


def _n_trials(count: float) -> str:
    return f"study.n_trials={show(int(count))}"


def _typed(key: str, dimension: Dimension) -> str:
    """The word for a shell."""
    return shlex.quote(_word(key, dimension))


def _word(key: str, dimension: Dimension) -> str:
    from playbook.study.overrides import sweep_override

    return sweep_override(key, dimension)
