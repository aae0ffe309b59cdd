"""What the report says to type next runs as printed, and means what the remedy says."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import playbook
from playbook.analysis.finding import Finding, Remedy
from playbook.composition import compose_config
from playbook.config import flatten
from playbook.report.commands import Commands
from playbook.study.design import Conditional, Design
from playbook.study.overrides import as_override, dimension_of, program_of
from playbook.study.space import Choice, Float, Int, dimension

PLAIN = Design(
    name="lr",
    goal="What's the best lr?",
    nuisance={"lr": Float(1e-3, 1.0, "log"), "model.activation": Choice(("relu", "gelu"))},
    overrides=("optimizer=nesterov", "max_steps=20", "eval_every=10", "logger=none"),
)
ARMS = Design(
    name="optimizers",
    goal='Is "Adam" better?',
    scientific={"optimizer": Choice(("nesterov", "adam"))},
    nuisance={"model.dropout": Float(0.0, 0.5)},
    conditional=(
        Conditional({"optimizer": ("nesterov",)}, {"lr": Float(1e-3, 1.0, "log")}),
        Conditional({"optimizer": ("adam",)}, {"lr": Float(1e-5, 0.1, "log")}),
    ),
    overrides=("max_steps=20", "eval_every=10", "logger=none"),
)


def finding(changes: dict, arm: str | None = None, **remedy: object) -> Finding:
    return Finding("code", "advice", "B5", "…", arm=arm, next=(Remedy(changes, **remedy),))


@pytest.fixture
def dry_run(door: Callable, tmp_path: Path, untimed: None) -> Callable[[Commands, str], str]:
    """Runs a command of a report from the folder that it was written for, up to the plan; what it prints."""

    def run(commands: Commands, command: str) -> str:
        for path, text in commands.files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        words = shlex.split(command)
        assert words[:2] == ["python", "train.py"]
        outcome = door(*words[2:], "study.dry_run=true")
        assert outcome.code == 0, outcome.err
        return " ".join(outcome.out.split())

    return run


def test_the_study_again_with_other_words(dry_run):
    commands = Commands(PLAIN, 16, Path("report"))
    (command,) = commands.of(finding({"lr": Float(1e-5, 1.0, "log"), "max_steps": 40}))
    plan = dry_run(commands, command)
    assert "lr-2: What's the best lr?" in plan
    assert "16 trials" in plan
    assert "lr nuisance 1e-05 to 1 log" in plan
    assert "model.activation nuisance relu, gelu" in plan
    assert "max_steps=40" in plan
    assert "max_steps=20" not in plan


def test_more_trials_are_the_same_study():
    commands = Commands(PLAIN, 16, Path("report"))
    (command,) = commands.of(finding({"study.n_trials": 32}))
    assert "study.name=lr" in shlex.split(command)
    assert "study.n_trials=32" in shlex.split(command)
    assert "study.n_trials=16" not in shlex.split(command)


def test_what_exists_in_one_arm_changes_there_only(dry_run):
    commands = Commands(ARMS, 16, Path("report"))
    (command,) = commands.of(finding({"lr": Float(1e-7, 0.1, "log")}, arm="optimizer=adam"))
    plan = dry_run(commands, command)
    assert "lr nuisance 0.001 to 1 log where optimizer=nesterov" in plan
    assert "lr nuisance 1e-07 to 0.1 log where optimizer=adam" in plan
    assert "optimizers-2" in plan
    assert 'Is "Adam" better?' in plan
    (path,) = commands.files
    block = yaml.safe_load(commands.files[path])
    assert [dimension(each["space"]["lr"], "lr") for each in block["conditional"]] == [
        Float(1e-3, 1.0, "log"),
        Float(1e-7, 0.1, "log"),
    ]


def test_other_words_of_a_conditional_study_stay_words(dry_run):
    commands = Commands(ARMS, 16, Path("report"))
    (command,) = commands.of(finding({"max_steps": 40, "schedule": "linear"}))
    plan = dry_run(commands, command)
    assert "max_steps=40" in plan
    assert "Linear" in plan


def test_scientific_and_repeated_hyperparameters_keep_their_roles(dry_run):
    design = Design(
        name="width",
        scientific={"model.width": Choice((16, 32))},
        nuisance={"lr": Float(1e-3, 1.0, "log")},
        repeat={"seed": Choice((0, 1))},
        overrides=("logger=none",),
    )
    commands = Commands(design, 16, Path("report"))
    plan = dry_run(commands, commands.of(finding({"clip_norm": 1}))[0])
    assert "model.width scientific 16, 32" in plan
    assert "seed repeat 0, 1" in plan


def test_different_studies_have_different_names_and_free_ones():
    commands = Commands(PLAIN, 16, Path("report"), taken=lambda name: name == "lr-2")
    first, second, again = (commands.of(finding({"max_steps": steps}))[0] for steps in (40, 80, 40))
    assert "study.name=lr-3" in first
    assert "study.name=lr-4" in second
    assert again == first


def test_a_trial_again(door):
    commands = Commands(ARMS, 16, Path("report"))
    trial = ARMS.trials(16)[3]
    (command,) = commands.of(finding({"warmup_steps": 4}, what="trial", trial=3))
    words = shlex.split(command)[2:]
    found = {each.key_or_group: each.value() for each in OverridesParser.create().parse_overrides(words)}
    assert {key: found[key] for key in trial.settings} == dict(trial.settings)
    assert found["warmup_steps"] == 4
    outcome = door(*words)
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    "value",
    ["it's", 'say "no"', "a b", "$HOME", "`id`", "!x", "\\", "null", "1e-3", "", "ü", None, True, 0.1, [1, "a,b"]],
)
def test_a_setting_passes_the_shell_and_hydra_unchanged(value):
    command = Commands(PLAIN, 16, Path("report")).of_trial({"lr": value})
    words = shlex.split(command)[2:]
    (override,) = (each for each in OverridesParser.create().parse_overrides(words) if each.key_or_group == "lr")
    given = override.value()
    assert (given.text if hasattr(given, "text") else given) == value


def test_sweeps_come_back_as_they_were():
    command = Commands(PLAIN, 16, Path("report")).of(finding({"clip_norm": 1}))[0]
    overrides = OverridesParser.create().parse_overrides(shlex.split(command)[3:])
    sweeps = {each.key_or_group: dimension_of(each) for each in overrides if each.is_sweep_override()}
    assert sweeps == dict(PLAIN.nuisance)


def test_an_added_key_keeps_its_plus():
    design = Design(name="x", nuisance={"task.metrics.a": Choice((1, 2))}, overrides=("+task.metrics.a=1",))
    commands = Commands(design, 2, Path("report"))
    assert "+task.metrics.a=1,2" in commands.of(finding({"clip_norm": 1}))[0]
    assert commands.of_trial({"task.metrics.a": 2}) == "python train.py +task.metrics.a=2"


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python train.py -m study=learning_rate", "train.py"),
        ("python my_app.py -m lr=1,2", "my_app.py"),
        ("python scripts/find_max_steps.py", "train.py"),
        ("python my_app.py study.goal='a quote that does not end", "my_app.py"),
        ("", "train.py"),
    ],
)
def test_the_program_that_ran_it(command, program):
    assert program_of(command) == program


def test_what_a_file_searches_is_not_fixed_by_the_words_beside_it(dry_run):
    design = replace(ARMS, overrides=("+task.metrics.a=1", "optimizer.weight_decay=0.01", "clip_norm=3", "logger=none"))
    design = replace(design, nuisance={"task.metrics.a": Choice((1, 2))})
    commands = Commands(design, 16, Path("report"))
    (command,) = commands.of(finding({"optimizer.weight_decay": Float(1e-5, 0.1, "log")}))
    assert {"+task.metrics.a=1,2", "clip_norm=3"} <= set(shlex.split(command))
    design = replace(ARMS, overrides=("optimizer.weight_decay=0.01", "logger=none"))
    commands = Commands(design, 16, Path("report"))
    (command,) = commands.of(finding({"optimizer.weight_decay": Float(1e-5, 0.1, "log")}))
    assert "optimizer.weight_decay nuisance 1e-05 to 0.1 log" in dry_run(commands, command)


@pytest.mark.parametrize(
    ("n_trials", "wanted", "typed"),
    [(4, 8, 6), (6, 12, None), (6, 4, 6), (6, 6, 6)],
)
def test_no_more_trials_than_a_grid_has_and_no_fewer_than_were_asked_for(n_trials, wanted, typed):
    grid = Design(name="grid", nuisance={"lr": Choice((0.1, 0.2, 0.3)), "model.width": Choice((8, 16))})
    commands = Commands(grid, n_trials, Path("report")).of(finding({"study.n_trials": wanted}))
    said = [word for command in commands for word in shlex.split(command) if word.startswith("study.n_trials=")]
    assert said == ([] if typed is None else [f"study.n_trials={typed}"])


def test_a_remedy_that_changes_nothing_or_names_what_is_not_there_is_no_command():
    fixed = {"data.in_memory": True, "optimizer.momentum": 0.9, "max_steps": 20, "clip_norm": 1.0}
    commands = Commands(replace(PLAIN, fixed=fixed, overrides=("schedule=linear",)), 16, Path("report"))
    for key, value in (
        ("schedule", "linear"),
        ("data.in_memory", True),
        ("optimizer.weight_decay", 0.1),
        ("lr", 0.1),
        ("clip_norm", 1),
    ):
        assert commands.of(finding({key: value})) == ()
    for key, value in (
        ("schedule", "cosine"),
        ("data.in_memory", False),
        ("optimizer.momentum", 0.5),
        ("model.dropout", 0),
    ):
        assert len(commands.of(finding({key: value}))) == 1


def test_a_whole_grid_stays_one_when_it_grows(dry_run):
    grid = Design(
        name="grid", nuisance={"lr": Choice((0.1, 0.2)), "model.width": Choice((8, 16))}, overrides=("logger=none",)
    )
    whole, part = Commands(grid, 4, Path("report")), Commands(grid, 3, Path("report"))
    wider = finding({"lr": Choice((0.1, 0.2, 0.4, 0.8))})
    assert "8 trials" in dry_run(whole, whole.of(wider)[0])
    assert "3 trials" in dry_run(part, part.of(wider)[0])


def as_run(design: Design) -> Design:
    """The design with what its overrides fix, as a study that was run has it."""
    config = OmegaConf.to_container(compose_config("train", design.overrides), resolve=True)
    fixed = {key: value for key, value in flatten(config) if key not in design.parameters}
    return replace(design, fixed=fixed)


DESIGNS = {
    "plain": PLAIN,
    "a decay of its own length": replace(
        PLAIN, overrides=("schedule=linear", "max_steps=1000", "schedule.decay_steps=1000", "logger=none")
    ),
    "a searched length of the decay": replace(
        PLAIN,
        nuisance={"lr": Float(1e-3, 1.0, "log"), "schedule.decay_steps": Int(100, 1000)},
        overrides=("schedule=linear", "max_steps=1000", "logger=none"),
    ),
    "searched steps and warmup": replace(
        PLAIN,
        scientific={"max_steps": Choice((500, 1000)), "clip_norm": Choice((None, 1.0))},
        nuisance={"lr": Float(1e-3, 1.0, "log"), "warmup_steps": Int(0, 100), "optimizer.weight_decay": Float(0, 0.1)},
        overrides=("logger=none",),
    ),
    "searched options of a group": replace(
        PLAIN,
        scientific={"schedule": Choice(("constant", "linear"))},
        nuisance={"lr": Float(0.1, 0.2), "data.in_memory": Choice((True, False))},
    ),
    "no weight decay in the optimizer": replace(PLAIN, overrides=("~optimizer.weight_decay", "logger=none")),
}
REMEDIES = [
    *({"max_steps": steps} for steps in (150, 2000)),
    {"lr": Float(1e-5, 1.0, "log")},
    {"optimizer.weight_decay": Float(1e-5, 1e-1, "log")},
    {"warmup_steps": 50},
    {"clip_norm": 0.7},
    {"lr": Float(1e-4, 0.1, "log"), "clip_norm": 0.7},
    {"schedule": "linear"},
    {"data.in_memory": True},
    {"study.n_trials": 32},
]
"""Every change of a study that a rule proposes."""


def checked(words: list[str]) -> None:
    """Composes a trial and checks it as training does before it begins."""
    config = playbook.compose(*words)
    config.optimizer.build(params=[torch.zeros(1, requires_grad=True)], lr=config.lr)
    config.schedule.build().factor(0, config.max_steps)


@pytest.mark.parametrize("name", DESIGNS)
def test_every_command_that_is_printed_is_accepted(name):
    commands = Commands(as_run(DESIGNS[name]), 16, Path("report"))
    printed = [command for changes in REMEDIES for command in commands.of(finding(changes))]
    assert 3 <= len(printed) <= len(REMEDIES)
    for command in printed:
        overrides = OverridesParser.create().parse_overrides(shlex.split(command)[3:])
        swept = {each.key_or_group for each in overrides if each.is_sweep_override()}
        roles = {each.key_or_group.removeprefix("study.roles.") for each in overrides if "roles" in each.key_or_group}
        assert roles <= swept, command
        for u in 0.0, 1 - 1e-9:  # the ends of all ranges
            checked(
                [
                    as_override(each.key_or_group, dimension_of(each).at(u))
                    if each.is_sweep_override()
                    else each.input_line
                    for each in overrides
                    if not each.key_or_group.startswith("study.")
                ]
            )
    again = {"lr": 0.5, "max_steps": 500, "eval_every": 1}, {"warmup_steps": 50}
    for changes in again:
        (command,) = commands.of(finding(changes, what="trial", trial=3))
        checked(shlex.split(command)[2:])


@pytest.mark.parametrize("steps", [500, 700, 2000])
def test_a_decay_keeps_its_share_of_a_run_of_another_length(steps):
    design = as_run(DESIGNS["a decay of its own length"])
    (command,) = Commands(design, 16, Path("report")).of(finding({"max_steps": steps}))
    assert {f"max_steps={steps}", f"schedule.decay_steps={steps}"} <= set(shlex.split(command))


def test_a_decay_is_never_longer_than_the_run_that_is_printed():
    words = DESIGNS["a decay of its own length"]  # as a study whose fixed settings were not kept
    (command,) = Commands(words, 16, Path("report")).of(finding({"max_steps": 500}))
    assert {"max_steps=500", "schedule.decay_steps=500"} <= set(shlex.split(command))
    steps_unknown = replace(words, overrides=("schedule=linear", "schedule.decay_steps=800", "logger=none"))
    (command,) = Commands(steps_unknown, 16, Path("report")).of(finding({"max_steps": 500}))
    assert {"max_steps=500", "schedule.decay_steps=500"} <= set(shlex.split(command))
    in_one_arm = replace(words, overrides=("logger=none",), fixed_in={"all": {"schedule.decay_steps": 800}})
    assert Commands(in_one_arm, 16, Path("report")).of(finding({"max_steps": 500})) == ()


def test_an_option_of_another_schedule_does_not_stay_with_the_new_one():
    design = replace(PLAIN, overrides=("schedule=mine", "+schedule.power=2", "logger=none"))
    (command,) = Commands(design, 16, Path("report")).of(finding({"schedule": "linear"}))
    assert "schedule.power" not in command


def test_the_digits_of_a_fingerprint_are_no_counter():
    (command,) = Commands(replace(PLAIN, name="digits-mlp-1234567890"), 16, Path("report")).of(
        finding({"clip_norm": 1})
    )
    assert "study.name=digits-mlp-1234567890-2" in command


def test_two_trials_that_cannot_be_told_apart_are_compared_by_a_command(tmp_path):
    for number in (3, 7):
        (tmp_path / f"trial_{number:05d}").mkdir()
        (tmp_path / f"trial_{number:05d}" / "config.yaml").write_text("lr: 0.1\n")
    doubt = finding({}, what="compare", trial=7, incumbent=3)
    (command,) = Commands(PLAIN, 16, tmp_path / "report", study_dir=tmp_path).of(doubt)
    words = [f"candidate={tmp_path}/trial_00007", f"incumbent={tmp_path}/trial_00003"]
    assert shlex.split(command) == ["python", "scripts/compare.py", *words]


@pytest.mark.parametrize("place", [None, "another_app"])
def test_trials_that_are_no_runs_of_ours_are_not_compared_by_a_command(tmp_path, place):
    doubt = finding({}, what="compare", trial=7, incumbent=3)
    study_dir = tmp_path if place else None  # an app of its own leaves no config.yaml
    assert Commands(PLAIN, 16, tmp_path / "report", study_dir=study_dir).of(doubt) == ()
