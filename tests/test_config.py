"""The config: what a command means, which runs are the same, and where a run goes."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hydra_once
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, flag_override
from shipped import CONF, OPTIONS, needs

import playbook
from playbook import components
from playbook.composition import compose_config
from playbook.config import (
    NOT_OFFERED,
    NOT_PART_OF_A_TRIAL,
    Config,
    difference,
    dump_config,
    flatten,
    identity,
    load_config,
    read_config,
)
from playbook.errors import InputError
from playbook.trial_config import config_of, trial_name


@pytest.fixture(autouse=True)
def _hydra_as_it_was() -> Iterator[None]:
    with hydra_once.singletons_kept():
        yield


def trial(*words: str) -> Config:
    """The checked config of a command line, with its folder named."""
    composed = compose_config("train", words)
    HydraConfig.instance().set_config(composed)
    with flag_override(composed, ["struct", "readonly"], [False, False]):
        del composed["hydra"], composed["study"]
    return config_of(composed)


def plain(*words: str) -> dict[str, Any]:
    """What a command line composes to; the caller may change it."""
    return copy.deepcopy(_composed(*words))


@cache
def _composed(*words: str) -> dict[str, Any]:
    composed = OmegaConf.to_container(compose_config("train", words), resolve=True)
    assert isinstance(composed, dict)
    return {str(key): value for key, value in composed.items() if key not in ("hydra", "study")}


def folder_of(*words: str) -> str:
    name = trial(*words).output_dir
    assert name is not None
    return name


# What a word means.


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("max_steps=1e3", "max_steps", 1000),
        ("max_steps=1000.0", "max_steps", 1000),
        ("lr=1e-3", "lr", 0.001),
        ("lr=.5", "lr", 0.5),
        ("lr='0.1 '", "lr", 0.1),
        ("lr=1", "lr", 1.0),
        ("clip_norm=null", "clip_norm", None),
        ("clip_norm=2", "clip_norm", 2.0),
        ("seed=9223372036854775807", "seed", 2**63 - 1),
        ("output_dir='a b/é'", "output_dir", "a b/é"),
        ("output_dir=a b", "output_dir", "a b"),
        ("overwrite=True", "overwrite", True),
        ("lr=${model.width}", "lr", 128.0),
    ],
)
def test_a_word_on_the_command_line(words: str, key: str, value: object) -> None:
    read = getattr(load_config(plain(words)), key)
    assert read == value
    assert type(read) is type(value)


def test_typed_fields_of_the_default() -> None:
    config = trial("warmup_steps=50")
    assert config.total_steps == 50 + 2000
    assert (config.objective.metric, config.objective.mode) == ("val/error", "min")
    assert config.trainer.device == "auto"
    assert config.model.target == "playbook.models.MLP"
    assert config.model.arguments["width"] == 128
    assert dict(config.callbacks) == {}


def test_the_optimizer_brings_its_lr_and_the_command_line_wins() -> None:
    assert trial("optimizer=adam").lr == 0.003
    assert trial("optimizer=adam", "lr=0.5").lr == trial("lr=0.5", "optimizer=adam").lr == 0.5


def test_a_config_reads_back_from_its_file(tmp_path: Path) -> None:
    config = trial("optimizer=adam", "schedule=cosine", "clip_norm=1", "output_dir='é: [x]'", "lr=1e-7", "lr=3e20")
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config.plain()), encoding="utf-8")
    again = load_config(read_config(path))
    assert again == config
    assert again.fingerprint() == config.fingerprint()


@pytest.mark.parametrize("lr", [1e-5, 1e5, 1e16, 1e22, 1e-300, 123456789.0, 0.1 + 0.2, 5e-324])
def test_a_number_reads_back_as_the_same_number(tmp_path: Path, lr: float) -> None:
    (tmp_path / "config.yaml").write_text(dump_config(plain() | {"lr": lr}))
    assert load_config(read_config(tmp_path / "config.yaml")).lr == lr


# Which commands are the same run.

TEXT = {
    "logger.job_type": "compare",
    "logger.mode": "offline",
    "task._target_": "playbook.tasks.Regression",
    "objective.metric": "val/loss",
    "objective.mode": "max",
    "model.activation": "gelu",
    "model.norm": "layer",
    "model.norm_placement": "post",
    "model.residual_init": "zero",
    "model.parametrization": "mup",
    "trainer.device": "cpu",
    "trainer.precision": "bf16-mixed",
    "trainer.num_threads": "3",
    "eval_batch_size": "64",
    "data.num_workers": "2",
    "output_root": "elsewhere",
    "resume": "force",
    "optimizer.decay": "independent",
    "logger.project": "another",
}
EMPTY = {
    "task.metrics": {"f1": {"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": 10}},
    "trainer.callbacks": {"timer": {"_target_": "pytorch_lightning.callbacks.Timer"}},
    "logger.tags": ["a"],
    "data.root": "elsewhere",
    "output_dir": "elsewhere",
    "logger.entity": "us",
    "clip_norm": 1.0,
    "lr_scales": {"head": 2.0},
    "eval_examples": 100,
    "trainer.micro_batch_size": 8,
    "init_from": "weights.pt",
    "init_skip": ["head"],
    "freeze": ["stem"],
    "model.base_width": 64,
    "keep_commits": [100],
    "continue_from": "elsewhere",
    "pause_at": 100,
    "schedule.decay_steps": 5,
    "logger.group": "mine",
    "logger.dir": "elsewhere",
    "logger.options": {"model": "other"},
    "logger.study": {"name": "other"},
}
COMMANDS = [(), ("optimizer=adamw", "schedule=linear", "model.residual=true", "model.norm=batch")]
LEAVES = [(words, key) for words in COMMANDS for key, _ in flatten(plain(*words)) if not key.endswith("._target_")]


def changed(value: object, key: str) -> object:
    """Another valid value for a key."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 + 0.01
    return TEXT[key] if isinstance(value, str) else EMPTY[key]


def with_value(config: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    *path, name = key.split(".")
    block = config
    for part in path:
        block = block[part]
    block[name] = value
    return config


@pytest.mark.parametrize(("words", "key"), LEAVES, ids=[f"{key}{'-2' if words else ''}" for words, key in LEAVES])
def test_every_key_but_paths_and_logger_changes_the_fingerprint(words: tuple[str, ...], key: str) -> None:
    before = plain(*words)
    value = changed(dict(flatten(before))[key], key)
    after = load_config(with_value(plain(*words), key, value))
    left_out = key.startswith("logger.") or key in (
        "output_root",
        "output_dir",
        "resume",
        "overwrite",
        "data.root",
        "data.download",
        "data.num_workers",
        "keep_commits",
        "continue_from",
        "pause_at",
    )
    assert (after.fingerprint() == load_config(before).fingerprint()) == left_out


def test_the_fingerprint_is_the_same_in_every_process_and_version() -> None:
    # Frozen: where it changes, runs are no longer found by the command that made them. Say so in CHANGELOG.md.
    config = {
        "lr": 0.1,
        "model": {"_target_": "playbook.models.MLP", "width": 3},
        "output_root": "x",
        "logger": {"a": 1},
    }
    assert identity(config) == {"lr": 0.1, "model._target_": "playbook.models.MLP", "model.width": 3}
    assert set(NOT_PART_OF_A_TRIAL) == {
        "output_root",
        "output_dir",
        "resume",
        "overwrite",
        "logger",
        "data.root",
        "data.download",
        "keep_commits",
        "continue_from",
        "pause_at",
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("lr=0.001", "lr=1e-3"),
        ("lr=1", "lr=1.0"),
        ("lr=0.1", "lr='0.1'"),
        ("max_steps=1000", "max_steps=1e3"),
        ("batch_size=64", ""),
        ("optimizer.momentum=0", "optimizer.momentum=0.0"),
        ("lr=0.1 seed=3", "seed=3 lr=0.1"),
        ("model=mlp", ""),
        ("logger=none", "logger=wandb logger.project=x"),
        ("clip_norm=1", "clip_norm=1.0"),
        ("trainer.num_threads=1", "trainer.num_threads='1'"),
    ],
)
def test_the_same_run_in_other_words_has_the_same_folder(one: str, other: str) -> None:
    assert folder_of(*one.split()) == folder_of(*other.split())


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        ("", "outputs/runs/digits-mlp-nesterov-"),
        ("data=diabetes task=regression optimizer=adam", "outputs/runs/diabetes-mlp-adam-"),
        ("model=wide_resnet output_root=/tmp/é", "/tmp/é/runs/digits-wide_resnet-nesterov-"),
    ],
)
def test_the_folder_of_a_run(words: str, begin: str) -> None:
    given = [f"{w.partition('=')[0]}='{w.partition('=')[2]}'" if "é" in w else w for w in words.split()]
    assert re.fullmatch(re.escape(begin) + "[0-9a-f]{10}", folder_of(*given))


def test_a_given_folder_is_taken_as_it_is() -> None:
    assert folder_of("output_dir=here/there") == "here/there"


def test_a_run_whose_model_is_in_its_experiment_is_called_after_that() -> None:
    def name(**choices: str | None) -> str:
        return trial_name(OmegaConf.create({"runtime": {"choices": {"optimizer": "adam", **choices}}}))

    assert name(data="text", model=None, experiment="mine") == "text-mine-adam"
    assert name(data=None, model=None, experiment="mine") == "mine-adam"


@pytest.mark.parametrize("words", ["", "model=cnn lr=0.02", "data=diabetes task=regression", "output_dir=mine"])
def test_python_composes_what_the_command_line_does(words: str) -> None:
    assert playbook.compose(*words.split()) == trial(*words.split())


@pytest.mark.parametrize(
    ("word", "part"),
    [
        ("lrr=1", "did you mean lr?"),
        ("model=cnm", "did you mean model=cnn?"),
        ("lr", "type key=value"),
        ("lr=abc", "a finite number > 0"),
        ("study=learning_rate", "a study is run with -m"),
    ],
)
def test_what_python_composes_is_refused_in_the_same_words(word: str, part: str) -> None:
    with pytest.raises(InputError) as error:
        playbook.compose(word)
    assert str(error.value).startswith(f"{word}: ")
    assert part in str(error.value)
    assert "\n" not in str(error.value)


# Differences and what is not offered.


def test_difference_names_every_key_that_differs_and_no_other() -> None:
    there = {"lr": 0.1, "model.width": 64, "clip_norm": None, "same": [1, 2], "gone": True}
    here = {"lr": 0.2, "model.width": 64.0, "clip_norm": 1.0, "same": [1, 2], "new": "x"}
    assert difference(there, here) == [
        "clip_norm: null there, 1.0 here",
        "gone: true there, absent here",
        "lr: 0.1 there, 0.2 here",
        "new: absent there, x here",
    ]
    assert difference(there, there) == []


def test_flatten_keeps_empty_blocks_and_lists() -> None:
    nested = {"a": {"b": {"c": 1}, "d": {}}, "e": [], "f": [{"g": 1}]}
    assert dict(flatten(nested)) == {"a.b.c": 1, "a.d": {}, "e": [], "f": [{"g": 1}]}


@pytest.mark.parametrize("key", NOT_OFFERED)
@pytest.mark.parametrize("block", ["", "trainer", "model"])
def test_what_is_not_offered_is_explained_wherever_it_stands(key: str, block: str) -> None:
    config = plain()
    (config[block] if block else config)[key] = 4
    with pytest.raises(InputError, match=r"\([A-Z]\d\)") as error:
        load_config(config)
    assert str(error.value).startswith(f"{block}{'.' if block else ''}{key}=4: ")
    assert "\n" not in str(error.value)


class OwnSchedule:
    """A fork's own, whose parameters are called as people call them."""

    def __init__(self, patience: int = 1, num_epochs: int = 1) -> None: ...

    def factor(self, step: int, max_steps: int) -> float:
        return 1.0


@pytest.mark.parametrize("key", ["patience", "num_epochs"])
def test_a_forks_own_parameter_may_have_any_name(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))
    own = plain() | {"schedule": {"_target_": f"{__name__}.OwnSchedule", key: 4}}
    assert load_config(own).schedule.arguments == {key: 4}
    with pytest.raises(InputError, match=r"^schedule\.max_epochs=4: .*\(A6\)"):
        load_config(own | {"schedule": {"_target_": f"{__name__}.OwnSchedule", "max_epochs": 4}})


def test_all_faults_of_the_settings_are_said_at_once() -> None:
    with pytest.raises(InputError) as error:
        load_config(plain() | {"lr": "x", "batch_size": 0, "seed": "x"})
    assert {line.partition("=")[0] for line in str(error.value).splitlines()} == {"lr", "batch_size", "seed"}


@pytest.mark.parametrize("key", ["lr", "trainer", "model", "data", "objective", "seed"])
def test_a_missing_key_is_named(key: str) -> None:
    config = plain()
    del config[key]
    with pytest.raises(InputError, match=f"^{key}"):
        load_config(config)


# Reading a config file.


def test_reading_a_config_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = f"lr: !!python/object/apply:os.mkdir ['{marker}']\n"
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(text)
    yaml.unsafe_load(text)
    assert marker.exists(), "the payload does what it says"
    marker.rmdir()
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml") as error:
        read_config(tmp_path / "config.yaml")
    assert not marker.exists()
    assert "\n" not in str(error.value)


def test_a_config_that_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(InputError) as error:
            read_config(path)
        assert str(path) in str(error.value)


# Every option that is shipped.

EVERY = [(group, name) for group, names in OPTIONS.items() for name in names]


@pytest.mark.parametrize(("group", "option"), EVERY)
def test_every_option_is_a_config(group: str, option: str) -> None:
    config = trial(f"{group}={option}", *needs(group, option))
    assert load_config(config.plain()) == config


def test_every_component_option_says_what_it_is_for_and_how_to_choose_it() -> None:
    silent = []
    for group, name in EVERY:
        comments = [line for line in (CONF / group / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
        if not any(not line.startswith("# @package") for line in comments):
            silent.append(f"{group}={name}")
    assert silent == []
