"""The `study` block of a config, checked, and made a `Design` together with the keys swept on the command line.

A sweep on the command line replaces its key's entry everywhere in the block; a plain value there fixes the key. So a
packaged study is a starting point, and the command line has the last word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

from playbook.config import flatten
from playbook.errors import InputError
from playbook.study.design import LARGEST_STUDY, TRIALS_AN_ARM, Case, Conditional, Design, Objective
from playbook.study.overrides import is_sweep, read_dimension
from playbook.study.rungs import refuse_no_rungs
from playbook.study.space import Choice, Dimension, Value
from playbook.validation import STRICT, show, validate

NAME = r"^[A-Za-z0-9][A-Za-z0-9._=+-]{0,119}$"
"""What a study may be called: it names a folder."""


class ConditionalBlock(BaseModel):
    """Hyperparameters that exist only where `when` holds, and from so many trials an arm on."""

    model_config = STRICT

    when: dict[str, Any]
    space: dict[str, Any]
    from_n_trials: PositiveInt = 1


class StudyConfig(BaseModel):
    """The keys of `study`, as `conf/study/_base_.yaml` explains them."""

    model_config = STRICT

    name: Annotated[str, Field(pattern=NAME)] | None = None
    goal: str = ""
    follows: str | None = None
    n_trials: Annotated[int, Field(ge=1, le=LARGEST_STUDY)] | None = None
    budget_hours: Annotated[float, Field(gt=0)] | None = None
    rungs: list[float] = []
    promote: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    scientific: dict[str, Any] = {}
    cases: dict[str, dict[str, Any]] = {}
    nuisance: dict[str, Any] = {}
    conditional: list[ConditionalBlock] = []
    repeat: dict[str, Any] = {}
    trials: list[dict[str, Any]] = []
    roles: dict[str, Any] = {}
    start: str | None = None
    parallel: PositiveInt | None = None
    storage: str | None = None
    dry_run: bool = False
    retries: NonNegativeInt = 2
    reuse: bool = True
    app: str = "playbook.study.app.App"


def read_study_config(plain: Mapping[str, Any]) -> StudyConfig:
    """The checked block.

    Raises:
        InputError: a line for each fault.
    """
    conditional = plain.get("conditional")
    for place, each in enumerate(conditional if isinstance(conditional, list) else []):
        if isinstance(each, Mapping):  # on its own, so that the line names the key in it
            validate(ConditionalBlock, {str(key): value for key, value in each.items()}, f"study.conditional[{place}]")
    name = plain.get("name")
    if isinstance(name, (int, float)) and not isinstance(name, bool):  # study.name=7
        plain = {**plain, "name": str(name)}
    try:
        checked = validate(StudyConfig, plain, "study")
        refuse_no_rungs(checked.rungs)
        if checked.rungs and checked.budget_hours is not None:
            raise InputError(
                f"study.budget_hours={show(checked.budget_hours)}: with study.rungs it is not known what a trial takes;"
                " leave one of them out"
            )
        return checked
    except InputError as error:
        if not str(error).startswith("study.name="):
            raise
        raise InputError(
            f"study.name={show(name)}: it names a folder; allowed are up to 120 letters, digits and . _ = + -,"
            " beginning with a letter or a digit"
        ) from None


@dataclass(frozen=True)
class CommandLine:
    """What the command line says besides the block: keys that are swept, and `overrides`, keys with one value.

    `settings` are the values of the composed config, flat, with the options of its groups (`optimizer: adam`):
    what a condition may ask for. `options` are all that these groups have. `conditions_at` says where a condition is to
    be added, as `playbook.study.conditions_at` does.
    """

    sweeps: Mapping[str, Dimension]
    overrides: frozenset[str]
    settings: Mapping[str, Value]
    options: Mapping[str, Collection[str]] = field(default_factory=dict)
    conditions_at: str = ""


def design_of(block: StudyConfig, given: CommandLine, objective: Objective, budget: int | None) -> Design:
    """The design that the block and the command line describe; its name is empty where none is given.

    `budget` is the number of trials that decides which of the hyperparameters with a `from_n_trials` there are; None
    takes `block.n_trials`.

    Raises:
        InputError: a line that names the key.
    """
    roles = {key: each for key, each in flatten(block.roles) if each != {}}
    spaces: dict[str, dict[str, Dimension]] = {
        "scientific": _space(block.scientific, "study.scientific"),
        "nuisance": _space(block.nuisance, "study.nuisance"),
        "repeat": _space(block.repeat, "study.repeat"),
    }
    _apply_roles(spaces, roles, given.sweeps)
    conditional = [
        (each, _space(each.space, f"study.conditional[{place}].space")) for place, each in enumerate(block.conditional)
    ]
    cases = _cases(block.cases, given)
    everywhere = (*spaces.values(), *(space for _, space in conditional))
    for space in everywhere:
        for key in given.overrides.intersection(space):
            if key not in given.sweeps:
                del space[key]
        space.update({key: swept for key, swept in given.sweeps.items() if key in space})
    everywhere = (*everywhere, *(dict(each.space) for each in cases.values()))
    _take_in(spaces, roles, given.sweeps, everywhere)  # before the conditions, which may ask for it
    arms = max(len(cases), 1)
    for each in spaces["scientific"].values():
        arms *= each.size or 1
    budget = budget if budget is not None else block.n_trials
    in_cases = [each.plain() for each in cases.values()]
    trials_an_arm = None if budget is None else budget // arms
    conditions = list(_conditions(conditional, spaces, given, trials_an_arm, in_cases))
    # What only conditions have that do not hold is swept all the same: the range that a fork gives its own optimizer.
    here = (*spaces.values(), *(each.space for each in cases.values()), *(each.space for each in conditions))
    _take_in(spaces, roles, given.sweeps, here)
    if block.conditional and not block.trials and not any(spaces.values()) and not conditions:
        tunes_lr = any("lr" in space for _, space in conditional)  # and without, each case would have one lr (B2)
        if not cases or (tunes_lr and not any("lr" in each.space for each in cases.values())):
            raise InputError(_missing_space(block, given))
    design = Design(
        name=block.name or "",
        objective=objective,
        goal=block.goal,
        follows=block.follows,
        seed=block.seed,
        scientific=spaces["scientific"],
        cases=cases,
        nuisance=spaces["nuisance"],
        conditional=tuple(conditions),
        repeat=_choices(spaces["repeat"]),
        listed_trials=tuple(dict(flatten(each)) for each in block.trials),
    )
    _refuse_untuned_arm(design, given)
    return design


def _refuse_untuned_arm(design: Design, given: CommandLine) -> None:
    """An arm without a space where conditions give others an lr: a fork's own optimizer, compared untuned (B2)."""
    if not any("lr" in each.space for each in design.conditional):
        return
    keys = list(dict.fromkeys(key for each in design.conditional for key in each.when))
    for arm in design.arms:
        if not arm.space:
            here = ", ".join(f"{key}={show(arm.settings[key])}" for key in keys)
            only = f"{keys[0]}: {show(arm.settings[keys[0]])}" if len(keys) == 1 else None
            add = _condition_to_add(given, only, None)
            raise InputError(
                f"study.conditional: none of its conditions holds where {here}, which would be compared untuned (B2);"
                f" leave it out{add}"
            )


def _cases(block: Mapping[str, Mapping[str, Any]], given: CommandLine) -> dict[str, Case]:
    """The arms by name; a sweep on the command line replaces the ranges of its key, and leaves its values.

    Raises:
        InputError: the command line gives a key that the cases differ in one value.
    """
    cases = {}
    for name, entries in block.items():
        settings: dict[str, Value] = {}
        space: dict[str, Dimension] = {}
        for key, entry in _entries(entries):
            if isinstance(entry, (Mapping, list)) or (isinstance(entry, str) and is_sweep(entry)):
                space[key] = given.sweeps.get(key) or read_dimension(entry, f"study.cases.{name}.{key}")
            else:
                settings[key] = entry
            if key in given.overrides and key not in given.sweeps:
                raise InputError(f"{key}: study.cases.{name} says what it is there; leave {key} out, or the cases")
        cases[name] = Case(settings, space)
    for key in given.sweeps:
        if any(key in each.settings for each in cases.values()) and not any(
            key in each.space for each in cases.values()
        ):
            raise InputError(f"{key}: study.cases gives it one value each; leave the sweep of {key} out, or the cases")
    return cases


def _conditions(
    conditional: list[tuple[ConditionalBlock, dict[str, Dimension]]],
    spaces: Mapping[str, dict[str, Dimension]],
    given: CommandLine,
    trials_an_arm: int | None,
    block_cases: Iterable[Mapping[str, Any]],
) -> Iterator[Conditional]:
    """The conditions on what the study varies; what depends on fixed settings alone is or is not nuisance.

    Where the command line sweeps the key of a condition, the values that it leaves out are no arms. Nor are the options
    of a group that are not compared: a packaged study knows more optimizers than it compares.
    """
    settings = given.settings
    for place, (block, space) in enumerate(conditional):
        if not block.when:
            raise InputError(
                f"study.conditional[{place}].when: empty; name a scientific hyperparameter and its value,"
                " such as {optimizer: adam}"
            )
        when = {key: tuple(each) if isinstance(each, list) else (each,) for key, each in block.when.items()}
        for key in when:
            if key in spaces["nuisance"] or key in spaces["repeat"]:
                raise InputError(
                    f"study.conditional[{place}].when.{key}: each value of {key} has a space of its own, and so is an"
                    f" arm: study.roles.{key}=scientific"
                )
            if any(key in each for each in block_cases):
                raise InputError(
                    f"study.conditional[{place}].when.{key}: the cases differ in {key}; what exists in one of them"
                    " stands there, in study.cases.<name>"
                )
            if key not in spaces["scientific"] and key not in settings:
                raise InputError(
                    f"study.conditional[{place}].when.{key}: neither a scientific hyperparameter nor a setting;"
                    " a condition on nothing never holds"
                )
        if block.from_n_trials > (trials_an_arm if trials_an_arm is not None else TRIALS_AN_ARM):
            continue
        fixed = [key for key in when if key not in spaces["scientific"]]
        if any(settings[key] not in when[key] for key in fixed) or not space:
            continue
        rest = {
            key: _left(values, spaces["scientific"][key], given.sweeps.get(key), given.options.get(key, ()))
            for key, values in when.items()
            if key not in fixed
        }
        if not all(rest.values()):
            continue
        if rest:
            yield Conditional(rest, space)
            continue
        for key, each in space.items():
            if key in spaces["nuisance"] or key in spaces["scientific"]:
                raise InputError(f"study.conditional[{place}].space.{key}: {key} has a place in the study already")
            spaces["nuisance"][key] = each


def _missing_space(block: StudyConfig, given: CommandLine) -> str:
    """The line for a study whose conditions know other options than the one that is here: a fork's own optimizer."""
    keys = list(dict.fromkeys(key for each in block.conditional for key in each.when if key in given.settings))
    here = ", ".join(f"{key}={show(given.settings[key])}" for key in keys)
    only = f"{keys[0]}: {show(given.settings[keys[0]])}" if len(keys) == 1 else None
    add = _condition_to_add(given, only, given.settings.get("lr"))
    return (
        f"study.conditional: none of its conditions holds here ({here}); sweep the key yourself, such as"
        f" 'lr=tag(log,interval(1e-4,1.0))'{add}"
    )


def _condition_to_add(given: CommandLine, when: str | None, lr: object) -> str:
    """The line of the study's file that would give `when` a space of its own, around the `lr` that it comes with."""
    if when is None or not given.conditions_at:
        return ""
    around = {"min": lr / 100, "max": lr * 100} if isinstance(lr, float) else {"min": 1e-4, "max": 1.0}
    space = f"{{lr: {{min: {around['min']:g}, max: {around['max']:g}, scale: log}}}}"
    return f"; or add to {given.conditions_at}:   - {{when: {{{when}}}, space: {space}}}"


def _left(
    values: tuple[Value, ...], compared: Dimension, swept: Dimension | None, options: Collection[str]
) -> tuple[Value, ...]:
    """Those that are arms; and those that could not be any, which the design refuses."""
    if isinstance(swept, Choice):
        return tuple(value for value in values if value in swept.values)
    arms = compared.values if isinstance(compared, Choice) else ()
    return tuple(value for value in values if value in arms or value not in options)


def _apply_roles(
    spaces: Mapping[str, dict[str, Dimension]], roles: Mapping[str, Any], sweeps: Mapping[str, Dimension]
) -> None:
    """Moves what `study.roles` names; what is swept without an entry gets its role later."""
    for key, role in roles.items():
        if not isinstance(role, str) or role not in spaces:
            raise InputError(f"study.roles.{key}={show(role)}: allowed are {', '.join(spaces)}")
        homes = [name for name, space in spaces.items() if key in space]
        if not homes and key not in sweeps:
            raise InputError(f"study.roles.{key}={role}: {key} is not searched; sweep it, such as {key}=a,b")
        for home in homes:
            spaces[role][key] = spaces[home].pop(key)


def _take_in(
    spaces: Mapping[str, dict[str, Dimension]],
    roles: Mapping[str, Any],
    sweeps: Mapping[str, Dimension],
    there: Iterable[Mapping[str, Dimension]],
) -> None:
    """What is swept and in none of the spaces that are `there` gets its role now."""
    for key in [key for key in sweeps if not any(key in space for space in there)]:
        role = roles.get(key, "repeat" if _is_seeds(key, sweeps[key]) else "nuisance")
        spaces[role][key] = sweeps[key]


def _is_seeds(key: str, swept: Dimension) -> bool:
    """`seed=0,1,2` repeats each point."""
    return key == "seed" and isinstance(swept, Choice)


def _space(block: Mapping[str, Any], key: str) -> dict[str, Dimension]:
    return {name: read_dimension(each, f"{key}.{name}") for name, each in _entries(block)}


def _entries(block: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`study.nuisance.model.width=[8,16]` on the command line makes blocks within blocks of the key's parts."""
    for name, each in block.items():
        if isinstance(each, Mapping) and each and not each.keys() & {"min", "max", "scale", "type"}:
            yield from _entries(each, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", each


def _choices(space: Mapping[str, Dimension]) -> dict[str, Choice]:
    found = {}
    for key, each in space.items():
        if not isinstance(each, Choice):
            raise InputError(f"study.repeat.{key}: a list of values is needed to repeat, such as {key}=0,1,2")
        found[key] = each
    return found
