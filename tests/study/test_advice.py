"""What the playbook forbids is refused with its rule; what it would do otherwise is said, and only then."""

import re

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from playbook.study.advice import ADAM_FROM, LEVELS, USUAL, advice, arm_plans, refusals
from playbook.study.design import Conditional, Design, Objective
from playbook.study.overrides import dimension_of
from playbook.study.space import Choice, Float, Int

LR = Float(1e-4, 1.0, "log")
ADAM = {"optimizer._target_": "playbook.optim.Adam", "optimizer.beta1": 0.9, "optimizer.beta2": 0.999} | {
    "optimizer.epsilon": 1e-8
}
PLAYBOOK_RULES = re.compile(r"\((A8|B2|B3|B11|B12|C1|D2)\)")


def design(**space) -> Design:
    return Design("s", **space)


def said(given: Design, n_trials: int) -> list[tuple[str, str | None]]:
    return [(each.rule, each.key) for each in advice(given, n_trials)]


# What is refused


@pytest.mark.parametrize(
    ("space", "rule", "instead"),
    [
        ({"nuisance": {"batch_size": Choice((32, 64))}}, "A8", "study.roles.batch_size=scientific"),
        ({"repeat": {"batch_size": Choice((32, 64))}}, "A8", "study.roles.batch_size=scientific"),
        ({"nuisance": {"max_steps": Int(100, 1000)}}, "C1", "max_steps=<value>"),
        ({"scientific": {"max_steps": Choice((100, 1000))}}, "C1", "max_steps=<value>"),
        ({"scientific": {"eval_every": Choice((10, 100))}}, "D2", "eval_every=<value>"),
        ({"nuisance": {"seed": Choice((0, 1))}}, "B11", "study.roles.seed=repeat"),
        ({"nuisance": {"seed": Float(0, 9)}}, "B11", "seed=0,1,2"),
        ({"scientific": {"seed": Choice((0, 1))}}, "B11", "study.roles.seed=repeat"),
        ({"nuisance": {"data.split_seed": Choice((0, 1))}}, "B11", "study.roles.data.split_seed=repeat"),
        ({"nuisance": {"data.val_fraction": Float(0.1, 0.5)}}, "B3", "study.roles.data.val_fraction=scientific"),
        ({"nuisance": {"data": Choice(("digits", "cifar10"))}}, "B3", "study.roles.data=scientific"),
        ({"nuisance": {"keep_best": Choice((0, 1))}}, "B2", "keep_best=<value>"),
        ({"scientific": {"output_root": Choice(("a", "b"))}}, "B2", "output_root=<value>"),
        ({"nuisance": {"logger": Choice(("none", "wandb"))}}, "B2", "logger=<value>"),
        ({"nuisance": {"logger.project": Choice(("a", "b"))}}, "B2", "logger.project=<value>"),
        ({"nuisance": {"trainer": Choice(("default", "ddp"))}}, "B2", "trainer=<value>"),
        ({"nuisance": {"trainer.num_threads": Int(1, 4)}}, "B2", "trainer.num_threads=<value>"),
        ({"scientific": {"objective.metric": Choice(("val/loss", "val/error"))}}, "B3", "objective.metric=<value>"),
        ({"listed_trials": ({"resume": "auto"}, {"resume": "force"})}, "B2", "resume=<value>"),
    ],
)
def test_a_line_says_what_was_given_the_rule_and_what_to_type(space, rule, instead):
    (line,) = refusals(design(**space))
    (key,) = {
        key for block in space.values() for each in (block if isinstance(block, tuple) else [block]) for key in each
    }
    assert line.startswith(f"{key}=")
    assert f"({rule})" in line
    assert instead in line
    assert "\n" not in line


def test_a_conditional_hyperparameter_is_refused_as_any_other():
    conditional = (Conditional({"optimizer": ("adam",)}, {"batch_size": Choice((32, 64))}),)
    (line,) = refusals(design(scientific={"optimizer": Choice(("sgd", "adam"))}, conditional=conditional))
    assert line.startswith("batch_size=32,64: not a hyperparameter for validation performance (A8)")


def test_the_test_split_is_no_objective():
    (line,) = refusals(Design("s", Objective("test/error"), nuisance={"lr": LR}))
    assert "(B12)" in line
    assert line.endswith("objective.metric=val/error")


def test_each_fault_has_its_line():
    space = {"batch_size": Choice((32, 64)), "max_steps": Int(1, 9), "lr": LR, "output_dir": Choice(("a",))}
    lines = refusals(Design("s", Objective("test/loss"), nuisance=space))
    assert len(lines) == 4
    assert all(PLAYBOOK_RULES.search(line) for line in lines)


@pytest.mark.parametrize(
    "space",
    [
        {"scientific": {"batch_size": Choice((32, 64))}, "nuisance": {"lr": LR}},
        {"nuisance": {"lr": LR, "warmup_steps": Choice((0, 10, 100)), "model.width": Int(8, 64)}},
        {"nuisance": {"lr": LR}, "repeat": {"seed": Choice((0, 1, 2)), "data.split_seed": Choice((0, 1, 2))}},
        {"scientific": {"trainer.precision": Choice(("32-true", "bf16-mixed"))}, "nuisance": {"lr": LR}},
        {"scientific": {"data": Choice(("digits", "mine"))}, "nuisance": {"lr": LR}},
        {"nuisance": {"data.crop_padding": Choice((0, 2, 4)), "task.label_smoothing": Float(0, 0.2)}},
        {"listed_trials": ({"max_steps": 100, "batch_size": 8}, {"max_steps": 200, "batch_size": 16})},
    ],
)
def test_what_the_playbook_allows_is_not_refused(space):
    assert refusals(design(**space)) == []


# What is advised


def test_a_sound_study_gets_no_advice():
    assert advice(design(nuisance={"lr": LR, "optimizer.momentum": Float(0.5, 0.99, "log_one_minus")}), 16) == []


@pytest.mark.parametrize(
    ("key", "given", "rule", "better"),
    [
        ("lr", Float(1e-4, 0.1), "E3", Float(1e-4, 0.1, "log")),
        ("model.width", Int(8, 1024), "E3", Int(8, 1024, "log")),
        ("lr", Float(0.0, 0.1), "E3", Float(1e-5, 0.1, "log")),
        ("optimizer.momentum", Float(0.5, 0.99), "A3", Float(0.5, 0.99, "log_one_minus")),
        ("optimizer.beta2", Float(0.9, 0.9999, "log"), "A3", Float(0.9, 0.999, "log_one_minus")),
        ("optimizer.beta1", Float(0.0, 1.0), "A3", Float(0.0, 0.999, "log_one_minus")),
    ],
)
def test_a_scale_that_wastes_points_gets_the_word_for_a_better_one(key, given, rule, better):
    (found,) = [each for each in advice(design(nuisance={key: given}), 100) if each.rule == rule]
    assert found.key == key
    word = found.message.split("'")[1]
    assert dimension_of(OverridesParser.create().parse_override(word)) == better


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("lr", Float(0.01, 0.5)),  # not two decades
        ("lr", Float(1e-4, 0.1, "log")),
        ("model.dropout", Float(0.0, 0.5)),
        ("warmup_steps", Int(0, 1000)),  # a log scale has no 0
        ("optimizer.momentum", Float(0.0, 0.9)),  # one decade of 1 - momentum
        ("optimizer.momentum", Float(0.5, 0.99, "log_one_minus")),
    ],
)
def test_a_fitting_scale_is_left_alone(key, given):
    assert [each for each in advice(design(nuisance={key: given}), 100) if each.rule in ("A3", "E3")] == []


@pytest.mark.parametrize(
    ("searched", "n_trials", "expected"),
    [
        ((), 9, []),
        ((), 10, [("E2", "optimizer.beta1")]),
        (("optimizer.beta1",), 9, [("E2", "optimizer.beta1")]),
        (("optimizer.beta1",), 10, []),
        (("optimizer.beta1",), 24, []),
        (("optimizer.beta1",), 25, [("E2", "optimizer.epsilon")]),
        (("optimizer.beta1", "optimizer.epsilon"), 24, [("E2", "optimizer.epsilon")]),
        (("optimizer.beta1", "optimizer.epsilon"), 25, []),
        (("optimizer.beta1", "optimizer.epsilon"), 74, []),
        (("optimizer.beta1", "optimizer.epsilon"), 75, [("E2", "optimizer.beta2")]),
        (("optimizer.beta1", "optimizer.epsilon", "optimizer.beta2"), 74, [("E2", "optimizer.beta2")]),
        (("optimizer.beta1", "optimizer.epsilon", "optimizer.beta2"), 75, []),
    ],
)
def test_adams_hyperparameters_by_the_budget(searched, n_trials, expected):
    fixed = {key: value for key, value in ADAM.items() if key not in searched}
    given = Design("s", nuisance={"lr": LR} | {key: USUAL[key] for key in searched}, fixed=fixed)
    assert said(given, n_trials) == expected


def test_the_budget_counts_for_an_arm_and_a_repeat_is_no_further_point():
    space = {"lr": LR, "optimizer.beta1": USUAL["optimizer.beta1"]}
    fixed = {key: value for key, value in ADAM.items() if key != "optimizer.beta1"}
    two_arms = Design("s", scientific={"model.width": Choice((8, 16))}, nuisance=space, fixed=fixed)
    assert said(two_arms, 20) == []
    assert said(two_arms, 18) == [("E2", "optimizer.beta1")]
    assert "study.n_trials=20" in advice(two_arms, 18)[0].message
    repeated = Design("s", nuisance=space, fixed=fixed, repeat={"seed": Choice((0, 1, 2))})
    assert said(repeated, 30) == []
    assert said(repeated, 27) == [("E2", "optimizer.beta1")]


def test_epsilon_of_rmsprop_is_not_adams():
    rmsprop = {"optimizer._target_": "playbook.optim.RMSProp", "optimizer.epsilon": 1e-10, "optimizer.rho": 0.9}
    assert said(Design("s", nuisance={"lr": LR}, fixed=rmsprop), 100) == []


def test_adam_in_one_arm_is_told_apart_from_sgd_in_the_other():
    when = [Conditional({"optimizer": (name,)}, {"lr": LR}) for name in ("nesterov", "adam")]
    given = Design(
        "s",
        scientific={"batch_size": Choice((32, 64)), "optimizer": Choice(("nesterov", "adam"))},
        conditional=tuple(when),
        fixed_in={"optimizer=adam": ADAM, "optimizer=nesterov": {"optimizer.momentum": 0.9}},
    )
    (found,) = advice(given, 64)
    assert (found.rule, found.key) == ("E2", "optimizer.beta1")
    assert "batch_size=32,optimizer=adam and batch_size=64,optimizer=adam" in found.message
    assert "nesterov" not in found.message


@pytest.mark.parametrize(("dimensions", "enough"), [(2, 9), (3, 25), (4, 74)])
def test_a_thin_study_hears_how_many_trials_and_how_many_to_fix(dimensions, enough):
    space = {f"model.p{number}": Float(0, 1) for number in range(dimensions)}
    assert advice(design(nuisance=space), enough) == []
    (found,) = advice(design(nuisance=space), enough - 1)
    assert found.rule == "B4"
    assert f"study.n_trials={enough}" in found.message
    assert "fix 1 of them" in found.message


@given(sizes=st.lists(st.none() | st.integers(1, 6), max_size=4), points=st.integers(8, 100), arms=st.integers(1, 3))
def test_thin_means_fewer_points_than_a_grid_of_three_levels_would_have(sizes, points, arms):
    space = {f"model.p{i}": Float(0, 1) if size is None else Int(1, size) for i, size in enumerate(sizes)}
    several_arms = {"model.arm": Choice(tuple(range(arms)))}
    found = advice(design(scientific=several_arms, nuisance={"lr": LR, **space}), points * arms)
    grid = LEVELS
    for size in sizes:
        grid *= size if size in (1, 2) else LEVELS
    one_dimension = all(size == 1 for size in sizes)
    assert [each.rule for each in found] == ([] if one_dimension or points >= grid - 1e-6 else ["B4"])


def test_too_few_trials_to_read():
    assert said(design(nuisance={"lr": LR}), 7) == [("B4", None)]
    assert said(design(nuisance={"lr": LR}), 8) == []
    assert said(design(nuisance={"lr": Choice((0.1, 0.01))}), 2) == []  # all that there are
    assert said(design(scientific={"model.width": Choice((8, 16, 32))}, nuisance={"lr": LR}), 2)[0] == ("B3", None)


def test_less_than_a_decade_of_lr():
    assert said(design(nuisance={"lr": Float(0.05, 0.4, "log")}), 16) == [("B4", "lr")]
    assert said(design(nuisance={"lr": Float(0.05, 0.5, "log")}), 16) == []


def test_arms_that_are_searched_differently():
    def arms(one, other):
        when = [Conditional({"model": (name,)}, space) for name, space in (("mlp", one), ("cnn", other))]
        return design(scientific={"model": Choice(("mlp", "cnn"))}, conditional=tuple(when))

    half = Float(0.01, 1, "log")
    assert said(arms({"lr": LR}, {"lr": half}), 32) == [("B3", "lr")]
    assert said(arms({"lr": LR}, {"lr": Float(0.001, 1, "log")}), 32) == []
    more = {"lr": LR, "clip_norm": Float(0.1, 10, "log"), "model.dropout": Float(0, 0.5)}
    assert said(arms({"lr": LR}, more), 64) == [("B3", None)]
    assert "favours the latter" in advice(arms({"lr": LR}, more), 64)[0].message
    few = arms({"lr": LR}, {"lr": Choice((0.1, 0.01))})
    (found,) = advice(few, 18)
    assert found.message.startswith("2 trials where model=cnn, 16 where model=mlp")


def test_a_learning_rate_that_two_optimizers_share():
    optimizers = {"optimizer": Choice(("nesterov", "adam"))}
    assert said(design(scientific=optimizers, nuisance={"lr": LR}), 32) == [("B3", "lr")]
    assert said(design(nuisance=optimizers | {"lr": LR}), 32) == [("B2", "optimizer")]
    assert said(design(scientific={"model.width": Choice((8, 16))}, nuisance={"lr": LR}), 32) == []


@pytest.mark.parametrize(("key", "rule"), [("batch_size", "A8"), ("model.width", "B2"), ("optimizer", "B2")])
def test_a_fixed_learning_rate_where_something_that_it_depends_on_is_compared(key, rule):
    values = Choice(("nesterov", "adam") if key == "optimizer" else (32, 64))
    given = Design("s", scientific={key: values}, fixed={"lr": 0.05})
    (found,) = advice(given, 2)
    assert (found.rule, found.key) == (rule, "lr")
    assert ("conf/study/optimizers.yaml" if key == "optimizer" else "lr=tag(log,interval(0.0005,5.0))") in found.message


def test_a_learning_rate_that_only_one_arm_searches():
    given = design(
        scientific={"model": Choice(("mlp", "cnn"))}, conditional=(Conditional({"model": ("mlp",)}, {"lr": LR}),)
    )
    assert ("B2", "lr") in said(given, 17)
    assert any("where model=cnn;" in each.message for each in advice(given, 17))


def test_two_seeds_are_few_and_grids_waste_trials():
    assert said(design(repeat={"seed": Choice((0, 1))}), 2) == [("B11", "seed")]
    assert said(design(repeat={"seed": Choice((0, 1, 2))}), 3) == []
    grid = {"lr": Choice((0.001, 0.01, 0.1)), "model.dropout": Choice((0.0, 0.2, 0.4))}
    (found,) = advice(design(nuisance=grid), 9)
    assert (found.rule, found.key) == ("E3", "lr")
    assert "'lr=tag(log,interval(0.001,0.1))'" in found.message
    assert advice(design(nuisance={"lr": grid["lr"]}), 3) == []


def test_a_list_of_trials_searches_nothing():
    assert advice(design(listed_trials=({"lr": 0.1}, {"lr": 0.2})), 2) == []
    assert [plan.trials for plan in arm_plans(design(listed_trials=({"lr": 0.1}, {"lr": 0.2})), 2)] == [2]


def test_the_numbers_of_e2_are_about_three_points_a_dimension():
    for dimensions, n_trials in enumerate(ADAM_FROM.values(), start=2):
        assert 2.9 < n_trials ** (1 / dimensions) < 3.2
