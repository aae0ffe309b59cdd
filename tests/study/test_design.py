"""A study's trials are a function of its design alone: fair to its arms, extendable, and each of them once."""

import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.errors import InputError
from playbook.study import halton
from playbook.study.design import ONLY_ARM, Case, Conditional, Design, Objective
from playbook.study.space import Choice, Float, Int, identity

LR, MOMENTUM = Float(1e-4, 1e-1, "log"), Float(0.9, 0.999, "log_one_minus")
WIDE = Design(
    name="wide",
    goal="which optimizer",
    seed=5,
    objective=Objective("val/loss", "max"),
    scientific={"optimizer": Choice(("sgd", "adam", "nadam")), "depth": Int(1, 2), "dropout": Float(0.0, 0.5)},
    nuisance={"lr": LR, "batch": Choice((None, 1, 1.0, True, "1", [1, "a"]))},
    conditional=(
        Conditional({"optimizer": ("adam", "nadam")}, {"optimizer.beta1": MOMENTUM}),
        Conditional(
            {"optimizer": ("sgd",), "depth": (2,)}, {"optimizer.momentum": MOMENTUM, "steps": Int(1, 9, "log")}
        ),
    ),
    repeat={"seed": Choice((0, 7))},
    overrides=("model=mlp", "data='a b'"),
    fixed={"max_steps": 100, "clip_norm": None},
    fixed_in={"optimizer=sgd,depth=1": {"eps": 1e-8}},
)
LISTED = Design(name="listed", listed_trials=({"lr": 0.1}, {"lr": 0.2, "seed": 1}, {"lr": 0.1, "seed": 1}))

LISTS = st.lists(st.sampled_from([None, True, 1, 1.0, "1", [1]]), min_size=1, max_size=4, unique_by=identity).map(
    lambda values: Choice(tuple(values))
)
FINITE = st.one_of(
    st.builds(lambda low, more: Int(low, low + more), st.integers(-3, 3), st.integers(0, 3)),
    st.builds(lambda low, more: Int(low, low + more, "log"), st.integers(1, 3), st.integers(0, 3)),
    LISTS,
)
DISTINCT = st.sampled_from([Choice((None, True, "a")), Choice((1, 2)), Choice(([1], [1, 2])), Int(0, 2)])


def spaces(dimensions, keys):
    return st.dictionaries(st.sampled_from(keys), dimensions, max_size=len(keys))


@st.composite
def designs(draw, dimensions):
    """Designs with one to twelve arms, some of which have hyperparameters of their own."""
    names = draw(st.lists(st.sampled_from(["adam", "sgd", "nadam"]), min_size=1, max_size=3, unique=True))
    own = draw(spaces(dimensions, ["beta", "eps"]))
    seeds = draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True))
    return Design(
        name="drawn",
        seed=draw(st.integers(0, 2**63 - 1)),
        scientific={"optimizer": Choice(tuple(names)), **draw(spaces(DISTINCT, ["norm"]))},
        nuisance=draw(spaces(dimensions, ["lr", "width", "dropout"])),
        conditional=(Conditional({"optimizer": (names[0],)}, own),) if own else (),
        repeat={"seed": Choice(tuple(seeds))} if len(seeds) > 1 else {},
    )


def values_of(dimension):
    return dimension.values if isinstance(dimension, Choice) else range(dimension.low, dimension.high + 1)


def grid(design):
    """Every trial of a finite design as an arm's name and an identity, written as nested loops."""
    found = []
    for point in itertools.product(*map(values_of, design.scientific.values())):
        setting = dict(zip(design.scientific, point, strict=True))
        space = dict(design.nuisance)
        for each in design.conditional:
            if all(setting[key] in values for key, values in each.when.items()):
                space |= each.space
        space |= design.repeat
        for rest in itertools.product(*map(values_of, space.values())):
            found.append(identity(setting | dict(zip(space, rest, strict=True))))
    return found


# The sequence of trials.


@settings(max_examples=50)
@given(design=designs(st.one_of(FINITE, st.just(LR))), n_trials=st.integers(1, 40))
def test_a_longer_study_begins_with_the_shorter_one_and_is_fair_at_every_length(design, n_trials):
    n_trials = min(n_trials, design.size or n_trials)
    trials = design.trials(n_trials)
    assert [trial.number for trial in trials] == list(range(n_trials))
    for length in range(1, n_trials + 1):
        assert design.trials(length) == trials[:length]
        counts = Counter(trial.arm for trial in trials[:length])
        most = max(counts.values())
        for arm in design.arms:  # an arm may be used up
            assert counts[arm.name] >= min(most - 1, most if arm.size is None else arm.size)


@settings(max_examples=50)
@given(design=designs(FINITE))
def test_a_finite_space_is_visited_point_by_point_each_once(design):
    assert design.size == design.default_n_trials == len(grid(design))
    trials = design.trials(design.size)
    assert Counter(identity(trial.settings) for trial in trials) == Counter(grid(design))


def test_a_large_finite_space_is_visited_point_by_point_each_once():
    design = Design(name="x", nuisance={"a": Int(1, 30), "b": Int(1, 30, "log"), "c": Choice(tuple("abc"))})
    trials = design.trials(2700)
    assert Counter(identity(trial.settings) for trial in trials) == Counter(grid(design))


def test_the_points_of_an_arm_are_its_own_sequence_mapped_by_hand():
    for arm in WIDE.arms:
        space = {"dropout": WIDE.scientific["dropout"], **WIDE.nuisance}
        if arm.settings["optimizer"] != "sgd":
            space["optimizer.beta1"] = MOMENTUM
        elif arm.settings["depth"] == 2:
            space |= WIDE.conditional[1].space
        space = {"lr": space.pop("lr"), **space}
        unit = halton.points(arm.seeds, np.arange(10), len(space))
        wanted = [
            {
                **arm.settings,
                **{key: each.at(u) for (key, each), u in zip(space.items(), row, strict=True)},
                "seed": seed,
            }
            for row in unit
            for seed in (0, 7)
        ]
        assert [dict(trial.settings) for trial in WIDE.trials(120) if trial.arm == arm.name] == wanted


def points_of(design, n_trials):
    """The quasi-random part of each arm's trials, by the arm's name."""
    found = {arm.name: [] for arm in design.arms}
    for trial in design.trials(n_trials):
        arm = next(each for each in design.arms if each.name == trial.arm)
        found[trial.arm].append({key: trial.settings[key] for key in arm.space})
    return found


PAIR = Design(name="x", scientific={"optimizer": Choice(("adam", "sgd"))}, nuisance={"width": Int(8, 512), "lr": LR})


def test_arms_of_one_space_share_their_points():
    adam, sgd = points_of(PAIR, 64).values()
    assert adam == sgd
    assert len({point["lr"] for point in adam}) == 32
    other = points_of(replace(PAIR, seed=1), 64)["optimizer=adam"]
    assert not {point["lr"] for point in other} & {point["lr"] for point in adam}


def test_arms_share_the_leading_dimensions_that_they_have_in_common():
    more = Conditional({"optimizer": ("adam",)}, {"beta": MOMENTUM})
    adam, sgd = points_of(replace(PAIR, conditional=(more,)), 64).values()
    assert (
        [{key: point[key] for key in ("lr", "width")} for point in adam] == sgd == points_of(PAIR, 64)["optimizer=sgd"]
    )


def test_what_stands_beside_another_first_dimension_is_not_shared():
    of_its_own = tuple(
        Conditional({"optimizer": (name,)}, {"lr": Float(1e-4, high, "log")})
        for name, high in {"adam": 1, "sgd": 2}.items()
    )
    adam, sgd = points_of(replace(PAIR, nuisance={"width": Int(8, 512)}, conditional=of_its_own), 64).values()
    assert [point["width"] for point in adam] != [point["width"] for point in sgd]


def test_the_learning_rate_has_the_first_dimension():
    (arm, _) = PAIR.arms
    assert list(arm.space) == ["lr", "width"]
    unit = halton.points(arm.seeds, np.arange(4), 2)[:, 0]
    assert [point["lr"] for point in points_of(PAIR, 8)[arm.name]] == [LR.at(u) for u in unit]


def test_a_study_from_before_keeps_a_sequence_for_each_arm():
    plain = PAIR.plain()
    assert plain.pop("points") == "shared"
    before = Design.of(plain)
    adam, sgd = points_of(before, 64).values()
    assert not {point["lr"] for point in adam} & {point["lr"] for point in sgd}
    assert "points" not in before.plain()
    assert list(before.arms[0].space) == ["width", "lr"]


def test_a_further_value_of_a_scientific_hyperparameter_leaves_the_other_arms_where_they_were():
    two = Design(name="x", scientific={"optimizer": Choice(("adam", "sgd"))}, nuisance={"lr": LR})
    three = replace(two, scientific={"optimizer": Choice(("nadam", "adam", "sgd"))})
    for name in ("optimizer=adam", "optimizer=sgd"):
        before, after = ([t.settings for t in d.trials(12 * len(d.arms)) if t.arm == name] for d in (two, three))
        assert before == after


def test_a_conditional_hyperparameter_exists_only_in_its_arms():
    keys = {"optimizer", "depth", "dropout", "lr", "batch", "seed"}
    for trial in WIDE.trials(60):
        own = set(trial.settings) - keys
        if trial.settings["optimizer"] == "sgd":
            assert own == ({"optimizer.momentum", "steps"} if trial.settings["depth"] == 2 else set())
        else:
            assert own == {"optimizer.beta1"}
    assert WIDE.parameters == (
        *("optimizer", "depth", "dropout", "lr", "batch", "optimizer.beta1", "optimizer.momentum", "steps", "seed"),
    )
    assert set(WIDE.space_of("optimizer=sgd,depth=1")) == keys
    assert set(WIDE.space_of("optimizer=adam,depth=1")) == keys | {"optimizer.beta1"}


def test_repeats_run_each_point_with_every_seed():
    design = Design(name="x", nuisance={"lr": LR}, repeat={"seed": Choice((3, 1, 2))})
    trials = [trial.settings for trial in design.trials(9)]
    assert [trial["seed"] for trial in trials] == [3, 1, 2] * 3
    assert len({trial["lr"] for trial in trials}) == 3
    seeds = Design(name="x", repeat={"seed": Choice((3, 1))})
    assert [dict(trial.settings) for trial in seeds.trials(2)] == [{"seed": 3}, {"seed": 1}]
    assert seeds.size == seeds.default_n_trials == 2


def test_a_list_of_trials_is_run_as_it_is_written():
    assert [dict(trial.settings) for trial in LISTED.trials(3)] == list(LISTED.listed_trials)
    assert {trial.arm for trial in LISTED.trials(3)} == {ONLY_ARM}
    assert LISTED.trials(2) == LISTED.trials(3)[:2]
    assert LISTED.size == LISTED.default_n_trials == 3
    assert LISTED.parameters == ("lr", "seed")
    assert LISTED.space_of(ONLY_ARM) == {"lr": Choice((0.1, 0.2)), "seed": Choice((None, 1))}


def test_a_study_has_16_trials_an_arm_where_nobody_says_how_many():
    assert Design(name="x", nuisance={"lr": LR}).default_n_trials == 16
    assert WIDE.default_n_trials == 6 * 16
    some_finite = Design(
        name="x",
        scientific={"optimizer": Choice(("adam", "sgd"))},
        nuisance={"depth": Int(1, 3)},
        conditional=(Conditional({"optimizer": ("adam",)}, {"beta": MOMENTUM}),),
    )
    assert some_finite.default_n_trials == 16 + 3
    assert Counter(trial.arm for trial in some_finite.trials(19)) == {"optimizer=adam": 16, "optimizer=sgd": 3}


def test_the_only_arm_and_the_roles():
    (arm,) = Design(name="x", nuisance={"lr": LR}).arms
    assert arm.name == ONLY_ARM
    assert [arm.name for arm in WIDE.arms] == [
        f"optimizer={optimizer},depth={depth}" for optimizer in ("sgd", "adam", "nadam") for depth in (1, 2)
    ]
    roles = {key: WIDE.role(key) for key in WIDE.parameters}
    assert {key for key, role in roles.items() if role == "scientific"} == {"optimizer", "depth", "dropout"}
    assert {key for key, role in roles.items() if role == "repeat"} == {"seed"}


GOLDEN = {
    "per_arm": [
        ("adam", 0.00788009, 18),
        ("sgd", 0.000224647, 10),
        ("adam", 0.00024919, 305),
        ("sgd", 0.00710397, 169),
    ],
    "shared": [("adam", 0.0512471, 307), ("sgd", 0.0512471, 307), ("adam", 0.00162058, 18), ("sgd", 0.00162058, 18)],
}


@pytest.mark.parametrize("points", list(GOLDEN))
def test_the_trials_are_those_of_all_times(points):
    design = Design(
        name="x",
        points=points,
        scientific={"optimizer": Choice(("adam", "sgd"))},
        nuisance={"lr": LR, "width": Int(8, 512, "log")},
    )
    assert [tuple(trial.settings.values()) for trial in design.trials(4)] == GOLDEN[points]


# Whether, and how much.

DROPOUT = Design(
    name="x",
    cases={"without": Case({"model.dropout": 0.0}, {}), "with": Case({}, {"model.dropout": Float(0.05, 0.6)})},
    nuisance={"lr": LR},
)


def test_cases_are_arms_of_which_one_tunes_what_the_other_leaves_out():
    assert [arm.name for arm in DROPOUT.arms] == ["without", "with"]
    assert DROPOUT.parameters == ("model.dropout", "lr")
    assert DROPOUT.role("model.dropout") == "nuisance"
    without, tuned = ([t.settings for t in DROPOUT.trials(20) if t.arm == name] for name in ("without", "with"))
    assert {each["model.dropout"] for each in without} == {0.0}
    assert len({each["model.dropout"] for each in tuned}) == 10
    assert all(0.05 <= each["model.dropout"] <= 0.6 for each in tuned)
    assert [each["lr"] for each in without] == [each["lr"] for each in tuned]
    assert set(DROPOUT.space_of("without")) == {"lr"}


def test_cases_are_crossed_with_scientific_hyperparameters():
    design = replace(DROPOUT, scientific={"depth": Choice((1, 2))})
    assert [arm.name for arm in design.arms] == ["depth=1,without", "depth=1,with", "depth=2,without", "depth=2,with"]
    assert {t.arm: t.settings["depth"] for t in design.trials(4)} == dict(
        zip((arm.name for arm in design.arms), (1, 1, 2, 2), strict=True)
    )


def test_what_cases_set_and_none_searches_is_scientific():
    design = replace(DROPOUT, cases={"a": Case({"model": "mlp"}, {}), "b": Case({"model": "cnn"}, {})})
    assert design.role("model") == "scientific"


# As a file.


@pytest.mark.parametrize("design", [WIDE, LISTED, DROPOUT], ids=["space", "list", "cases"])
def test_study_yaml_gives_back_the_design_and_its_trials(design):
    read = Design.of(yaml.safe_load(yaml.safe_dump(design.plain(), sort_keys=False)))
    assert read == design
    assert read.plain() == design.plain()
    assert read.trials(3) == design.trials(3)


@settings(max_examples=30)
@given(design=designs(st.one_of(FINITE, st.just(LR), st.just(MOMENTUM))))
def test_any_design_comes_back_from_its_file(design):
    read = Design.of(yaml.safe_load(yaml.safe_dump(design.plain(), sort_keys=False)))
    assert read == design
    assert [identity(trial.settings) for trial in read.trials(1)] == [identity(t.settings) for t in design.trials(1)]


def test_a_fault_in_a_file_is_named():
    plain = yaml.safe_load(yaml.safe_dump(WIDE.plain()))
    plain["conditional"][1]["space"]["steps"]["min"] = 99
    line = "conditional[1].space.steps: 99 to 9: the lower end must not be above the upper one"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        Design.of(plain)


# What is refused.

OPTIMIZER = {"optimizer": Choice(("adam", "sgd"))}


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ({}, "nothing is searched: sweep a key, such as lr=0.01,0.1"),
        (
            {"scientific": {"lr": LR}, "nuisance": {"lr": LR}},
            "study.scientific.lr: lr is in study.nuisance too; a hyperparameter has one role (B2)",
        ),
        (
            {"nuisance": {"seed": Int(0, 3)}, "repeat": {"seed": Choice((1, 2))}},
            "study.nuisance.seed: seed is in study.repeat too; a hyperparameter has one role (B2)",
        ),
        (
            {
                "scientific": OPTIMIZER,
                "nuisance": {"lr": LR},
                "conditional": (Conditional({"optimizer": ("adam",)}, {"lr": LR}),),
            },
            "study.nuisance.lr: lr is in study.conditional[0].space too; a hyperparameter has one role (B2)",
        ),
        (
            {"nuisance": {"lr": LR}, "conditional": (Conditional({"optimizer": ("adam",)}, {"beta": LR}),)},
            "study.conditional[0].when.optimizer: a condition is on a scientific hyperparameter with a list of values"
            " (here: none) or on a fixed setting",
        ),
        (
            {"scientific": {**OPTIMIZER, "lr": LR}, "conditional": (Conditional({"lr": (0.1,)}, {"beta": LR}),)},
            "study.conditional[0].when.lr: a condition is on a scientific hyperparameter with a list of values"
            " (here: optimizer) or on a fixed setting",
        ),
        (
            {"scientific": OPTIMIZER, "conditional": (Conditional({"optimizer": ("adam", "adm")}, {"beta": LR}),)},
            "study.conditional[0].when.optimizer=adm: no arm has this value; there are adam, sgd",
        ),
        (
            {"scientific": {"depth": Int(1, 3)}, "conditional": (Conditional({"depth": (1, "2")}, {"beta": LR}),)},
            "study.conditional[0].when.depth=2: no arm has this value; there are 1, 2, 3",
        ),
        (
            {"scientific": {"x": Choice((1, "1"))}},
            "study.scientific.x: two values are both shown as 1; arms go by that name",
        ),
        ({"scientific": {"x": Int(1, 10**9)}}, "study.scientific: 1000000000 arms; allowed are up to 10000"),
        (
            {"scientific": OPTIMIZER, "conditional": (Conditional({"optimizer": ("adam",)}, {}),)},
            "study.conditional[0].space: empty; name the hyperparameters that exist there",
        ),
        (
            {"scientific": OPTIMIZER, "conditional": (Conditional({}, {"beta": LR}),)},
            "study.conditional[0].when: empty; name a scientific hyperparameter and its value",
        ),
        (
            {
                "scientific": OPTIMIZER,
                "conditional": (
                    Conditional({"optimizer": ("adam",)}, {"beta": LR}),
                    Conditional({"optimizer": ("sgd", "adam")}, {"beta": MOMENTUM}),
                ),
            },
            "study.conditional[1].space: beta is defined for the same arm by an earlier condition",
        ),
        (
            {"nuisance": {"lr": LR}, "listed_trials": ({"lr": 1},)},
            "study.trials: a study has a list of trials or a space, not both",
        ),
        (
            {"cases": {"with": Case({}, {"lr": LR}), "without": Case({"x": 1}, {})}, "nuisance": {"lr": LR}},
            "study.cases.lr: lr is in study.nuisance too; a hyperparameter has one role (B2)",
        ),
        ({"cases": {"one": Case({"x": 1}, {})}}, "study.cases: one case is nothing to compare"),
        ({"cases": {"a,b": Case({"x": 1}, {}), "c": Case({"x": 2}, {})}}, "study.cases.a,b: a case's name has letters"),
        ({"cases": {"a": Case({"x": 1}, {}), "b": Case({}, {})}}, "study.cases.b: empty"),
        ({"listed_trials": ({"lr": 1}, {"lr": 2}, {"lr": 1})}, "study.trials: a trial is there twice"),
    ],
)
def test_a_design_that_contradicts_itself_is_refused_in_one_line(parts, line):
    with pytest.raises(InputError) as refused:
        Design(name="x", **parts)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_two_conditions_may_define_one_name_in_different_arms():
    design = Design(
        name="x",
        scientific=OPTIMIZER,
        conditional=(
            Conditional({"optimizer": ("adam",)}, {"lr": Float(1e-4, 1e-3, "log")}),
            Conditional({"optimizer": ("sgd",)}, {"lr": Float(1e-2, 1e-1, "log")}),
        ),
    )
    for trial in design.trials(20):
        assert (trial.settings["lr"] < 5e-3) == (trial.settings["optimizer"] == "adam")


@pytest.mark.parametrize(
    ("design", "n_trials", "line"),
    [
        (WIDE, 0, "study.n_trials=0: allowed is 1 to 100000"),
        (WIDE, -1, "study.n_trials=-1: allowed is 1 to 100000"),
        (WIDE, 10**9, "study.n_trials=1000000000: allowed is 1 to 100000"),
        (LISTED, 4, "study.n_trials=4: the space has 3 different trials; allowed is 1 to 3"),
        (
            Design(name="x", nuisance={"a": Int(1, 3), "b": Choice("ab")}, repeat={"seed": Choice((1, 2))}),
            13,
            "study.n_trials=13: the space has 12 different trials; allowed is 1 to 12",
        ),
    ],
)
def test_a_number_of_trials_that_cannot_be_is_refused(design, n_trials, line):
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        design.trials(n_trials)


def test_a_grid_too_large_to_be_meant_asks_how_many():
    design = Design(name="x", nuisance={"a": Int(1, 10**6), "b": Int(1, 10**6)})
    line = "study.n_trials: the full grid has 1000000000000 trials; say how many with study.n_trials=64"
    with pytest.raises(InputError, match=f"^{re.escape(line)}$"):
        _ = design.default_n_trials
    assert len({identity(trial.settings) for trial in design.trials(64)}) == 64


def test_a_direction_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"^objective\.mode=minimum: allowed is one of min, max$"):
        Objective("loss", "minimum")
