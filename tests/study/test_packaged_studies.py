"""The studies of `conf/study`: each composes, is what the playbook would run, and says how to run it."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from shipped import SHIPPED

from playbook.composition import CONFIG_DIR, compose_config
from playbook.config import Config, flatten
from playbook.errors import InputError
from playbook.study.advice import USUAL, advice, refusals
from playbook.study.conditions_at import conditions_at
from playbook.study.config import CommandLine, ConditionalBlock, design_of, read_study_config
from playbook.study.design import Design, Objective
from playbook.study.overrides import as_override
from playbook.study.space import Choice, Float
from playbook.trial_config import compose

FILES = sorted(path for path in (Path(CONFIG_DIR) / "study").glob("*.yaml") if path.stem != "_base_")
OF_ALGOPERF = [path.stem for path in FILES if path.stem.startswith("algoperf_")]
STUDIES = [path.stem for path in FILES if path.stem not in OF_ALGOPERF]
ADAMS = ("adam", "nadam", "adamw", "schedule_free_adamw")


@cache
def trial_of(optimizer: str) -> Config:
    """The config of `python train.py optimizer=<optimizer>`."""
    return compose(f"optimizer={optimizer}")


@cache
def packaged(study: str, *words: str) -> tuple[Design, int]:
    """The design of `python train.py -m study=<study> <words>`, with what is fixed, and its number of trials."""
    cfg = compose_config("train", [f"study={study}", *words])
    plain = OmegaConf.to_container(cfg.study, resolve=True)
    assert isinstance(plain, dict)
    settings = dict(flatten(OmegaConf.to_container(cfg, resolve=False))) | dict(cfg.hydra.runtime.choices)
    block = read_study_config(plain)
    options = {"optimizer": SHIPPED["optimizer"]}
    design = design_of(block, CommandLine({}, frozenset(), settings, options), Objective(), None)
    fixed = trial_of(cfg.hydra.runtime.choices.optimizer).identity()
    fixed = {key: value for key, value in fixed.items() if key not in design.parameters}
    return design.with_fixed(fixed, {}), block.n_trials or design.default_n_trials


def test_those_that_the_readme_promises_are_there():
    assert {"learning_rate", "tune_optimizer", "optimizers", "weight_decay"} <= set(STUDIES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_begins_with_a_question_and_its_command_and_has_a_goal(path):
    lines = path.read_text().splitlines()
    comment = [line for line in lines if line.startswith("#")]
    assert lines[: len(comment)] == comment
    assert f"#   python train.py -m study={path.stem}" in comment
    assert OmegaConf.load(path).goal.endswith("?")


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("optimizer", SHIPPED["optimizer"])
def test_a_study_suits_every_optimizer(study, optimizer):
    design, n_trials = packaged(study, *([] if study == "optimizers" else [f"optimizer={optimizer}"]))
    assert refusals(design) == []
    # A study of one thing may leave what Adam's budget could carry besides; there is nothing else to say.
    assert {each.rule for each in advice(design, n_trials)} <= {"E2"}


@pytest.mark.parametrize("optimizer", SHIPPED["optimizer"])
def test_the_range_of_lr_is_the_same_in_all_and_the_default_is_well_inside(optimizer):
    ranges = []
    for study in STUDIES:
        design, _ = packaged(study, f"optimizer={optimizer}")
        in_arms = {arm.settings.get("optimizer", optimizer): arm.space["lr"] for arm in design.arms}
        ranges += [in_arms[optimizer]] if optimizer in in_arms else []
    assert len(ranges) >= 3
    assert len(set(ranges)) == 1
    assert isinstance(ranges[0], Float)
    assert ranges[0].scale == "log"
    assert 0.25 < ranges[0].position(trial_of(optimizer).lr) < 0.75


@pytest.mark.parametrize("optimizer", SHIPPED["optimizer"])
def test_what_is_searched_has_its_default_in_the_range(optimizer):
    design, _ = packaged("tune_optimizer", f"optimizer={optimizer}", "study.n_trials=1000")
    default = trial_of(optimizer).identity()
    for key, dimension in design.arms[0].space.items():
        assert 0 <= dimension.position(default[key]) < 1, key
    (trial,) = design.trials(1)
    config = compose(f"optimizer={optimizer}", *(as_override(key, value) for key, value in trial.settings.items()))
    assert config.identity() == {**default, **trial.settings}


@pytest.mark.parametrize("optimizer", ADAMS)
@pytest.mark.parametrize(
    ("n_trials", "searched"),
    [(9, []), (10, ["beta1"]), (24, ["beta1"]), (25, ["beta1", "epsilon"]), (75, ["beta1", "epsilon", "beta2"])],
)
def test_adam_gets_what_its_budget_can_carry(optimizer, n_trials, searched):
    design, given = packaged("tune_optimizer", f"optimizer={optimizer}", f"study.n_trials={n_trials}")
    assert given == n_trials
    assert list(design.arms[0].space) == ["lr", *(f"optimizer.{name}" for name in searched)]
    assert all(design.arms[0].space[key] == USUAL[key] for key in design.arms[0].space if key in USUAL)
    assert advice(design, n_trials) == []


@pytest.mark.parametrize(
    ("optimizer", "n_trials", "searched"),
    [
        ("sgd", 1000, []),
        ("nesterov", 9, []),
        ("nesterov", 10, ["momentum"]),
        ("momentum", 1000, ["momentum"]),
        ("rmsprop", 9, []),
        ("rmsprop", 10, ["momentum"]),
        ("rmsprop", 75, ["momentum", "epsilon", "rho"]),
        ("schedule_free_sgd", 10, ["momentum"]),
        ("muon", 9, []),
        ("muon", 10, ["adamw_lr"]),
        ("muon", 25, ["adamw_lr", "momentum"]),
    ],
)
def test_the_others_get_lr_and_then_momentum(optimizer, n_trials, searched):
    design, _ = packaged("tune_optimizer", f"optimizer={optimizer}", f"study.n_trials={n_trials}")
    assert list(design.arms[0].space) == ["lr", *(f"optimizer.{name}" for name in searched)]


def test_optimizers_compares_two_with_spaces_of_their_own():
    design, n_trials = packaged("optimizers")
    nesterov, adam = design.arms
    assert set(nesterov.space) == {"lr", "optimizer.momentum"}
    assert set(adam.space) == {"lr", "optimizer.beta1"}
    assert nesterov.space["lr"] != adam.space["lr"]
    assert n_trials == 32


@pytest.mark.parametrize("optimizer", SHIPPED["optimizer"])
def test_optimizers_can_compare_any_in_the_space_that_tunes_it(optimizer):
    other = "adam" if optimizer == "nesterov" else "nesterov"
    design, n_trials = packaged("optimizers", f"study.scientific.optimizer=[{other},{optimizer}]")
    tuned, _ = packaged("tune_optimizer", f"optimizer={optimizer}", "study.n_trials=16")
    assert design.arms[1].space == tuned.arms[0].space
    assert {each.rule for each in advice(design, n_trials)} <= {"E2"}


OF_MOMENTUM = {
    "learning_rate": (2e-2, 5.0),
    "one_minus_beta1": (5e-3, 0.3),
    "weight_decay": (1e-7, 5e-5),
    "end_factor": [1e-3, 1e-2],
}
ALGOPERF = {  # the benchmark's files, its names on the left
    "adamw": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (2e-2, 0.5),
        "beta2": [0.999],
        "weight_decay": (5e-3, 1.0),
    },
    "nadamw": {
        "learning_rate": (1e-4, 1e-2),
        "one_minus_beta1": (4e-3, 0.1),
        "beta2": [0.999],
        "weight_decay": (5e-3, 1.0),
    },
    "nesterov": OF_MOMENTUM,
    "momentum": OF_MOMENTUM,
}


@pytest.mark.parametrize("name", ALGOPERF)
def test_algoperfs_spaces_are_the_published_ones(name):
    design, n_trials = packaged(f"algoperf_{name}")
    assert n_trials == 5
    assert refusals(design) == []
    (arm,) = design.arms
    assert arm.settings["optimizer"] == {"nadamw": "nadam"}.get(name, name)
    ours = {"learning_rate": "lr", "end_factor": "schedule.final_fraction"}
    wanted = {"task.label_smoothing": Choice((0.1, 0.2)), "model.dropout": Choice((0.0, 0.1))}
    for theirs, values in ALGOPERF[name].items():
        if theirs == "one_minus_beta1":
            key = "optimizer.beta1" if name.startswith(("adam", "nadam")) else "optimizer.momentum"
            wanted[key] = Float(1 - values[1], 1 - values[0], "log_one_minus")
        elif isinstance(values, list):
            wanted[ours.get(theirs, f"optimizer.{theirs}")] = Choice(tuple(values))
        else:
            wanted[ours.get(theirs, f"optimizer.{theirs}")] = Float(*values, "log")
    assert arm.space == wanted
    assert sorted(f"algoperf_{each}" for each in ALGOPERF) == OF_ALGOPERF


@pytest.mark.parametrize(
    ("study", "file"),
    [("learning_rate", "learning_rate"), ("tune_optimizer", "tune_optimizer"), ("weight_decay", "learning_rate")],
)
def test_an_optimizer_that_is_missing_a_space_is_told_the_file_and_the_line(study, file):
    cfg = compose_config("train", [f"study={study}"])
    where = conditions_at([Path(CONFIG_DIR)], study)
    path, _, number = where.partition(", below line ")
    assert path == f"conf/study/{file}.yaml"
    assert (Path(CONFIG_DIR).parent / path).read_text().splitlines()[int(number) - 1] == "conditional:"
    settings = {"optimizer": "mine", "lr": 0.02}
    block = read_study_config(OmegaConf.to_container(cfg.study, resolve=True))
    line = f"{where}:   - {{when: {{optimizer: mine}}, space: {{lr: {{min: 0.0002, max: 2, scale: log}}}}}}"
    with pytest.raises(InputError, match=re.escape(line)):
        design_of(block, CommandLine({}, frozenset(), settings, {}, where), Objective(), None)
    given = yaml.safe_load(line.rpartition("  - ")[2])
    added = block.model_copy(update={"conditional": [*block.conditional, ConditionalBlock(**given)]})
    design = design_of(added, CommandLine({}, frozenset(), settings, {}, where), Objective(), None)
    assert all(arm.space["lr"] == Float(0.0002, 2.0, "log") for arm in design.arms)


def test_an_optimizer_that_would_be_compared_untuned_is_told_the_file_and_the_line():
    """`optimizers` compares by name: one of a fork's own beside Adam would have a single trial, at its default."""
    where = conditions_at([Path(CONFIG_DIR)], "optimizers")
    cfg = compose_config("train", ["study=optimizers"])
    block = read_study_config(OmegaConf.to_container(cfg.study, resolve=True))
    given = CommandLine({"optimizer": Choice(("adam", "mine"))}, frozenset({"optimizer"}), {"lr": 0.02}, {}, where)
    line = f"{where}:   - {{when: {{optimizer: mine}}, space: {{lr: {{min: 0.0001, max: 1, scale: log}}}}}}"
    with pytest.raises(InputError, match=re.escape("where optimizer=mine, which would be compared untuned")) as error:
        design_of(block, given, Objective(), None)
    assert str(error.value).endswith(line)
    condition = ConditionalBlock(**yaml.safe_load(line.rpartition("  - ")[2]))
    added = block.model_copy(update={"conditional": [*block.conditional, condition]})
    assert all("lr" in arm.space for arm in design_of(added, given, Objective(), None).arms)


def test_weight_decay_compares_none_with_some_that_is_tuned():
    design, _ = packaged("weight_decay")
    assert [arm.settings.get("optimizer.weight_decay") for arm in design.arms] == [0.0, None]
    assert design.arms[0].space == {key: each for key, each in design.arms[1].space.items() if key == "lr"}


def test_every_command_in_the_comments_composes():
    commands = [line[1:].split("#")[0].split() for path in FILES for line in path.read_text().splitlines()]
    words = [command[3:] for command in commands if command[:3] == ["python", "train.py", "-m"]]
    assert len(words) >= 8
    for given in words:
        plain = [each.strip("'") for each in given if not re.search("interval|optimizer=mine|,", each)]
        compose_config("train", plain)
