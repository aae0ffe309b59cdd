"""The command line: what it refuses, in which words, and that a refused command leaves nothing behind.

Most commands run in this process, a tenth of a second each; what only a process of its own can show runs in one.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from command import ROOT, Door, python
from hydra._internal.config_repository import CachingConfigRepository

import playbook
from playbook import components
from playbook.cli import hydra_arguments
from playbook.data import Arrays
from playbook.errors import InputError
from playbook.trial_config import compose

SMALL = ("logger=none", "max_steps=2", "eval_every=2", "trainer.num_threads=1", "trainer.device=cpu")

NUMBER = "a finite number > 0"
COUNT = "a whole number > 0"

REFUSED: list[tuple[str, list[str]]] = [
    # Values.
    ("lr=abc", ["lr=abc", NUMBER]),
    ("lr=-1", ["lr=-1", NUMBER]),
    ("lr=0", ["lr=0", NUMBER]),
    ("lr=nan", ["lr=nan", NUMBER]),
    ("lr=inf", ["lr=inf", NUMBER]),
    ("lr=", ["lr=", NUMBER]),
    ("lr=null", ["lr=null", NUMBER]),
    ("lr=true", ["lr=true", NUMBER]),
    ("lr=[1,2]", ["lr=[1, 2]", NUMBER]),
    ("++lr=abc", ["lr=abc", NUMBER]),
    ("~lr", ["lr", NUMBER]),
    ("batch_size=0", ["batch_size=0", COUNT]),
    ("batch_size=null", ["batch_size=null", COUNT]),
    ("batch_size=64.5", ["batch_size=64.5", COUNT]),
    ("max_steps=1.5", ["max_steps=1.5", COUNT]),
    ("max_steps=inf", ["max_steps=inf", COUNT]),
    ("eval_every=0", ["eval_every=0", COUNT]),
    ("warmup_steps=-1", ["warmup_steps=-1", "a whole number >= 0"]),
    ("clip_norm=0", ["clip_norm=0", NUMBER, "null"]),
    ("keep_best=-1", ["keep_best=-1", "a whole number >= 0"]),
    ("seed=true", ["seed=true", "a whole number >= 0"]),
    ("seed=-1", ["seed=-1", "a whole number >= 0"]),
    ("seed=99999999999999999999", ["seed=99999999999999999999", "a whole number"]),
    ("overwrite=maybe", ["overwrite=maybe", "true or false"]),
    ("resume=yes", ["resume=yes", "auto", "force"]),
    ("objective.mode=minimise", ["objective.mode=minimise", "min", "max"]),
    ("objective=val/error", ["objective", "block"]),
    ("output_dir=", ["output_dir=", "empty"]),
    ("output_root=", ["output_root=", "empty"]),
    ("model.width=64.5", ["model.width=64.5", COUNT]),
    ("model.width=[1,2]", ["model.width=[1, 2]", COUNT]),
    ("model.width=true", ["model.width=true", COUNT]),
    ("model.activation=ReLU", ["model.activation=ReLU", "relu, gelu, silu, tanh"]),
    ("model.dropout=1", ["model.dropout=1", ">= 0 and < 1"]),
    ("optimizer=adam optimizer.beta1=2", ["optimizer.beta1=2", ">= 0 and < 1"]),
    ("task.label_smoothing=1.5", ["task.label_smoothing=1.5", ">= 0 and < 1"]),
    ("data.val_fraction=1", ["data.val_fraction=1", "> 0 and < 1"]),
    ("data.num_workers=-1", ["data.num_workers=-1", "a whole number >= 0"]),
    ("trainer.device=gpu", ["trainer.device=gpu", "auto, cpu, cuda, mps"]),
    ("trainer.precision=fp16", ["trainer.precision=fp16", "32-true"]),
    ("trainer.num_threads=0", ["trainer.num_threads=0", COUNT, "auto"]),
    ("trainer.callbacks=[]", ["trainer.callbacks=[]"]),
    ("trainer.callbacks=null", ["trainer.callbacks=null", "block"]),
    # Keys and options that do not exist.
    ("lrr=1", ["lrr", "did you mean lr?", "batch_size"]),
    ("+lrr=1", ["lrr", "did you mean lr?", "batch_size"]),
    ("++lrr=1", ["lrr", "did you mean lr?"]),
    ("~lrr", ["lrr"]),
    ("optimizer.beta1=2", ["optimizer.beta1", "optimizer.momentum"]),
    ("model.wdith=3", ["model.wdith", "did you mean model.width?"]),
    ("+model.wdith=3", ["model.wdith", "did you mean model.width?"]),
    ("+trainer.foo=1", ["trainer.foo", "trainer.device"]),
    ("model=mpl", ["model=mpl", "did you mean model=mlp?", "model=cnn"]),
    ("optimizer=Adam", ["optimizer=Adam", "did you mean optimizer=adam?"]),
    ("logger=csv", ["logger=csv", "logger=none", "logger=wandb"]),
    ("experiment=nope", ["experiment=nope", "there is no such option"]),
    ("model=null", ["model", "null"]),
    ("hydra/launcher=null", ["hydra/launcher=null", "the name of an option"]),
    ("trainer=null", ["trainer", "null"]),
    ("~model", ["model", "model=<option>"]),
    # Words that are no overrides.
    ("'lr", ["'lr", "key=value"]),
    ("lr==1", ["lr==1", "key=value"]),
    ("lr:0.1", ["lr:0.1", "key=value"]),
    ("=1", ["=1", "key=value"]),
    ("0.2", ["0.2", "key=value"]),
    ("lr=é", ["lr=é", "quote"]),
    ("output_dir=~/runs", ["output_dir=~/runs", "quote"]),
    ("lr=${batch_size", ["lr=${batch_size"]),
    ("--lr=0.1", ["--lr=0.1", "lr=0.1"]),
    ("--lr 0.1", ["--lr", "key=value"]),
    ("lr=0.1,0.2", ["lr", "--multirun"]),
    # Interpolations.
    ("lr=${nope}", ["lr", "nope"]),
    ("lr=${oc.env:NOPE_NOPE}", ["lr", "NOPE_NOPE"]),
    ("lr=${lr}", ["lr"]),
    # Combinations.
    ("model.norm_placement=post", ["model.norm_placement=post", "model.residual=true"]),
    ("schedule=linear schedule.decay_steps=99999", ["schedule.decay_steps=99999", "max_steps=2"]),
    ("objective.metric=val/nope", ["objective.metric=val/nope", "val/error", "val/loss"]),
    ("objective.metric=", ["objective.metric=", "empty"]),
    ("task=regression", ["task=regression", "task=classification"]),
    ("data=diabetes", ["task=classification", "task=regression"]),
    ("model=cnn data=diabetes task=regression", ["model", "CNN", "model=mlp"]),
    ("data.val_fraction=0.5 data.test_fraction=0.6", ["data.val_fraction=0.5", "data.test_fraction=0.6", "below 1"]),
    # Data.
    ("data=arrays", ["data.path", "data.path=<"]),
    ("data=arrays data.path=absent.npz", ["data.path", "absent.npz"]),
    ("data=fashion_mnist data.root=/nowhere", ["data.root=/nowhere", "data.download=true"]),
    # What the playbook advises against, with the rule.
    ("accumulate_grad_batches=4", ["accumulate_grad_batches", "(A5)", "batch_size"]),
    ("+trainer.accumulate_grad_batches=4", ["trainer.accumulate_grad_batches=4", "(A5)"]),
    ("trainer.accumulate_grad_batches=4", ["trainer.accumulate_grad_batches", "(A5)"]),
    ("+early_stopping=true", ["early_stopping=true", "(D3)", "keep_best"]),
    ("max_epochs=3", ["max_epochs", "(A6)", "max_steps"]),
    ("+trainer.max_epochs=3", ["trainer.max_epochs=3", "(A6)", "max_steps"]),
    ("+trainer.callbacks.es._target_=pytorch_lightning.callbacks.EarlyStopping", ["trainer.callbacks.es", "(D3)"]),
    (
        "+trainer.callbacks.es={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val/error}",
        ["trainer.callbacks.es", "(D3)"],
    ),
    (
        "+trainer.callbacks.a={_target_:pytorch_lightning.callbacks.GradientAccumulationScheduler,scheduling:{0:4}}",
        ["trainer.callbacks.a", "(A5)"],
    ),
    # Components.
    ("model._target_=os.system", ["model._target_=os.system", "playbook.", "make project"]),
    ("+task.metrics.f1._target_=os.system", ["task.metrics.f1._target_=os.system", "torchmetrics."]),
    ("+trainer.callbacks.x._target_=os.system", ["trainer.callbacks.x._target_=os.system"]),
    ("model._target_=playbook.models.Nope", ["model._target_=playbook.models.Nope", "Nope"]),
    ("+model.input_shape=[3]", ["model.input_shape=[3]", "the program supplies this"]),
    ("+optimizer.lr=0.3", ["optimizer.lr=0.3", "the program supplies this"]),
    (
        "optimizer=sgd optimizer._target_=torch.optim.SGD ~optimizer.decay_norm_and_bias ~optimizer.decay"
        " +optimizer.fused=true +optimizer.foreach=true",
        ["optimizer", "fused", "foreach"],
    ),
    ("schedule._target_=torch.nn.ReLU", ["schedule._target_=torch.nn.ReLU", "playbook.optim.Schedule"]),
    ("model._target_=torch.nn.LSTM", ["model", "input_shape", "HYDRA_FULL_ERROR=1"]),
    ("model._target_=torch.nn.Linear", ["model: Linear has no width, depth", "conf/model/<name>.yaml"]),
    ("model._target_=playbook.load_run", ["this is a function; a class is needed"]),
    (
        "+task.metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:-1}",
        ["task.metrics.f1: ", "HYDRA_FULL_ERROR=1"],
    ),
    # Hydra's own keys.
    ("hydra.run.dir=/proc/x", ["hydra.run.dir=/proc/x", "cannot be made"]),
    ("hydra.launcher._target_=os.system", ["hydra.launcher._target_=os.system", "hydra/launcher=<option>"]),
    ("++hydra.sweeper._target_=os.system", ["hydra.sweeper._target_=os.system", "hydra/sweeper=<option>"]),
    (f"model={'n' * 300}", ["model=nnn"]),
    (f"lr={'[' * 600}{']' * 600}", ["lr=[[[", "nested too deeply"]),
    ("+trainer.callbacks.x=1", ["trainer.callbacks.x=1", "_target_"]),
    ("+trainer.callbacks.x._target_=torch.nn.Identity", ["trainer.callbacks.x", "torch.nn.Identity"]),
    (
        "+trainer.callbacks.x._target_=pytorch_lightning.callbacks.ModelCheckpoint",
        ["trainer.callbacks.x", "ModelCheckpoint", "keep_best"],
    ),
    ("+task.metrics.f1=3", ["task.metrics.f1=3"]),
    ("+task.metrics.f1._target_=torch.nn.Identity", ["task.metrics.f1", "Identity"]),
    (
        "+task.metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:abc}",
        ["task.metrics.f1.num_classes=abc", "a whole number"],
    ),
    (
        "+task.metrics.f1={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:3}",
        ["task.metrics"],
    ),
    (
        "+task.metrics.error={_target_:torchmetrics.classification.MulticlassF1Score,num_classes:10}",
        ["task.metrics.error"],
    ),
]


@pytest.mark.parametrize(("words", "parts"), REFUSED, ids=[words for words, _ in REFUSED])
def test_bad_input_is_refused_in_one_line(door: Door, words: str, parts: list[str]) -> None:
    line = door(*SMALL, *words.split(" ")).line
    for part in parts:
        assert part in line
    for jargon in ("Exception", "Traceback", "KeyError", "pydantic", "OmegaConf", "hydra.cc", "full_key", "Union["):
        assert jargon not in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("task.metrics.f1={_target_: x}", "this is new in task.metrics; put a + before it: '+task.metrics.f1={"),
        ("trainer.callbacks={a: {_target_: x}}", "name each one: '+trainer.callbacks.<name>={_target_: <class>}'"),
        ("model._target_=playbook.models.Tiny", "name the file too: playbook.models.<file>.Tiny"),
    ],
)
def test_what_a_fork_adds_is_told_how(door: Door, words: str, line: str) -> None:
    assert line in door(words).line


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("--resolve", "--cfg job --resolve"),
        ("--cfg", "expected one argument"),
        ("--cfg=foo", "'job'"),
        ("--run -m", "one of them at a time"),
        ("--config-dir=/nowhere", "there is no such folder"),
        ("--experimental-rerun=run.pickle", "can run code"),
    ],
)
def test_a_flag_that_does_not_go_is_one_line(door: Door, words: str, part: str) -> None:
    assert part in door(*words.split()).line


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("lr=0.1 -m seed=0,1", "-m lr=0.1 seed=0,1"),
        (
            "-m study.roles.lr=scientific ++study.repeat.seed=[0]",
            "-m ++study.roles.lr=scientific ++study.repeat.seed=[0]",
        ),
        ("-m study.name=2026_11_20", "-m study.name='2026_11_20'"),
        ("-m study.name=a=b study.n_trials=3", "-m study.name='a=b' study.n_trials=3"),
        ("study.name=plain --cfg job", "--cfg job study.name=plain"),
    ],
)
def test_what_hydra_is_given(typed: str, given: str) -> None:
    assert hydra_arguments(typed.split()) == given.split()


def test_a_study_keeps_the_command_as_it_was_typed(door: Door, tmp_path: Path, unreported: None) -> None:
    typed = ["study.name=7", "lr=0.1,0.2", "-m", "study.roles.lr=scientific", *SMALL, "study.dry_run=false"]
    assert door(*typed).code == 0
    study = yaml.safe_load((tmp_path / "outputs" / "studies" / "7" / "study.yaml").read_text())
    assert study["command"].endswith(f"train.py {' '.join(typed)}")


class Mine(Arrays):
    """A fork's data set, one of whose parameters its option leaves at the default."""

    def __init__(self, path: str, val_size: int = 3, patience: int = 1) -> None:
        super().__init__(path)


@pytest.mark.parametrize("key", ["val_size", "patience"])
def test_a_parameter_that_the_option_does_not_set_is_told_how(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(f"_target_: {__name__}.Mine\npath: absent.npz\n")
    mine = [f"--config-dir={tmp_path / 'conf'}", "data=mine"]
    assert door(*mine, f"data.{key}=1000").line.endswith(f"add it with +data.{key}=1000")
    assert "absent.npz" in door(*mine, f"+data.{key}=1000").line  # it goes on to the data
    assert "there is no such key" in door(*mine, "data.val_sice=1000").line


def test_every_fault_has_its_line(door: Door) -> None:
    outcome = door("lr=abc", "batch_size=0", "seed=x")
    assert outcome.code == 2
    assert [line.split(":")[1].strip() for line in outcome.err.splitlines()] == ["lr=abc", "batch_size=0", "seed=x"]
    assert outcome.left_behind == []


def test_the_rest_of_a_refused_command_is_not_written_either(door: Door) -> None:
    assert "lr=-1" in door("lr=-1", "output_dir=mine").line
    assert "lr=-1" in door("lr=-1", "output_root=mine").line


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data files, good and bad."""
    folder = tmp_path_factory.mktemp("arrays")
    random = np.random.default_rng(0)
    inputs, targets = random.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    np.savez(folder / "good.npz", inputs=inputs, targets=targets)
    whole = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("inputs,targets\n")
    np.savez(folder / "negative.npz", inputs=inputs, targets=targets - 1)
    np.savez(folder / "validation.npz", inputs=inputs, targets=targets, val_inputs=inputs, val_targets=targets + 1)
    np.savez(folder / "not_finite.npz", inputs=np.full_like(inputs, np.nan), targets=targets)
    np.savez(folder / "objects.npz", inputs=inputs, targets=np.array([{}] * 60, dtype=object))
    np.savez(folder / "sparse.npz", inputs=inputs, targets=targets * 1000)  # more classes than examples
    np.savez(folder / "lengths.npz", inputs=inputs, targets=targets[:-1])
    mnist = folder / "fashion-mnist"
    mnist.mkdir()
    images = struct.pack(">IIII", 0x803, 100, 28, 28) + bytes(100 * 28 * 28)
    labels = struct.pack(">II", 0x801, 100) + bytes(i % 10 for i in range(100))
    for part in ("train", "t10k"):
        (mnist / f"{part}-images-idx3-ubyte").write_bytes(images[: -28 * 28 * 3])
        (mnist / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return folder


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("truncated.npz", ["truncated.npz"]),
        ("text.npz", ["text.npz", "npz"]),
        ("negative.npz", ["negative.npz", "-1", "targets"]),
        ("validation.npz", ["validation.npz", "class 3", "val_targets", "0 to 2"]),
        ("not_finite.npz", ["not_finite.npz", "inputs", "finite"]),
        ("objects.npz", ["objects.npz", "targets"]),
        ("sparse.npz", ["sparse.npz", "targets"]),
        ("lengths.npz", ["lengths.npz", "60", "59"]),
    ],
)
def test_bad_data_is_refused_in_one_line(door: Door, arrays: Path, name: str, parts: list[str]) -> None:
    line = door(*SMALL, "data=arrays", f"data.path={arrays / name}").line
    for part in parts:
        assert part in line


def test_a_truncated_image_file_is_refused(door: Door, arrays: Path) -> None:
    line = door(*SMALL, "data=fashion_mnist", f"data.root={arrays}").line
    assert "train-images-idx3-ubyte" in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there(door: Door) -> None:
    line = door(*SMALL, "trainer.device=cuda").line
    assert "trainer.device=cuda" in line
    assert "cpu" in line


# The folder of the run.


def test_an_output_dir_that_is_not_a_runs(door: Door, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("mine")
    for words in (["output_dir=file"], ["output_dir=thesis"], ["output_dir=thesis", "overwrite=true"]):
        line = door(*SMALL, *words).line
        assert words[0] in line
        assert "folder" in line
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "mine"


@pytest.mark.parametrize("words", ["output_dir=file/run", "output_root=file", "output_root=/dev/null"])
def test_a_file_on_the_way_to_the_folder(door: Door, tmp_path: Path, words: str) -> None:
    (tmp_path / "file").write_text("mine")
    line = door(*SMALL, words).line
    assert words.partition("=")[2] in line


def test_a_name_longer_than_the_file_system_takes(door: Door) -> None:
    line = door(*SMALL, f"output_dir={'n' * 300}").line
    assert "nnn" in line
    assert "too long" in line


def test_an_output_root_without_permission_is_the_disks_trouble(door: Door) -> None:
    if os.geteuid() == 0:
        outcome = door(*SMALL, "output_root=/proc/runs")  # nobody makes a folder there, not even root
        place = "/proc/runs"
    else:
        outcome = door(*SMALL, "output_root=/root-owned")
        place = "/root-owned"
    lines = outcome.err.splitlines()
    assert outcome.code == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert place in lines[0]
    assert outcome.left_behind == []


@pytest.mark.parametrize(
    "text",
    [
        b"{{{{",
        b"- 1\n",
        b"\xff\xfe\x00",
        b"",
        b"lr: !!python/object/apply:os.system [ls]",
        b"{a: " * 5000 + b"}" * 5000,
    ],
    ids=range(6),
)
def test_a_damaged_config_in_the_folder(door: Door, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_bytes(text)
    assert "run/config.yaml" in door(*SMALL, "output_dir=run").line


def test_a_finished_run_is_printed_and_one_of_another_config_refused(door: Door) -> None:
    first = door(*SMALL, "output_dir=../" + Path.cwd().name + "/run")
    assert first.code == 0
    assert "run/result.json" in first.left_behind
    again = door(*SMALL, "output_dir=run", "data.download=true")
    assert (again.code, again.left_behind) == (0, [])
    assert "complete" in again.out
    line = door(*SMALL, "output_dir=run", "lr=0.123", "optimizer=adam").line
    assert "lr: 0.05 there, 0.123 here" in line
    assert "optimizer.beta1: absent there, 0.9 here" in line
    assert "overwrite=true" in line


# Many runs at once.


def test_one_output_dir_for_many_runs_is_refused(door: Door) -> None:
    for words in (["output_dir=one"], ["seed=0,1", "output_dir=one"]):
        line = door("-m", *SMALL, *words).line
        assert "output_dir=one" in line
        assert "-m" in line
        assert "output_root" in line


# Experiments and the learning rate.


@pytest.fixture
def experiments(tmp_path: Path) -> Iterator[str]:
    """The word that adds experiments, of which one names an optimizer; they lie outside the test's folder."""
    conf = tmp_path.parent / f"{tmp_path.name}_conf"
    (conf / "experiment").mkdir(parents=True)
    (conf / "experiment" / "tuned.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /optimizer: momentum\nlr: 0.0123\n"
    )
    (conf / "experiment" / "plain.yaml").write_text("# @package _global_\nlr: 0.0456\n")
    (conf / "experiment" / "no_lr.yaml").write_text("# @package _global_\nmodel:\n  width: 16\n")
    (conf / "optimizer").mkdir()
    (conf / "optimizer" / "torch_adamw.yaml").write_text(
        "# @package _global_\nlr: 0.01\noptimizer:\n  _target_: torch.optim.AdamW\n  weight_decay: 0.1\n"
    )
    yield f"--config-dir={conf}"
    shutil.rmtree(conf)


@pytest.mark.parametrize(
    ("experiment", "lr", "own"), [("tuned", "0.0123", "momentum"), ("plain", "0.0456", "nesterov")]
)
def test_another_optimizer_needs_its_own_lr(door: Door, experiments: str, experiment: str, lr: str, own: str) -> None:
    line = door(experiments, *SMALL, f"experiment={experiment}", "optimizer=adam").line
    for part in ("optimizer=adam", f"experiment={experiment}", f"lr={lr}", own, "0.003", "lr=<"):
        assert part in line


def test_a_key_of_the_experiments_own_data_is_no_reason_to_refuse_another_optimizer(door):
    line = door("experiment=text_transformer", "data.context=16", "optimizer=muon").line
    assert line.startswith("optimizer=muon: experiment=text_transformer sets lr=0.003 for adamw")


@pytest.mark.parametrize(
    ("words", "lr"),
    [
        ("experiment=tuned", "0.0123"),
        ("experiment=tuned optimizer=momentum", "0.0123"),
        ("experiment=tuned optimizer=adam lr=0.02", "0.02"),
        ("experiment=tuned optimizer=adam ++lr=0.02", "0.02"),
        ("experiment=plain optimizer=nesterov", "0.0456"),
        ("experiment=no_lr optimizer=adam", "0.003"),
        ("optimizer=adam", "0.003"),
        ("optimizer=torch_adamw", "0.01"),
    ],
)
def test_the_lr_that_a_command_means(door: Door, experiments: str, tmp_path: Path, words: str, lr: str) -> None:
    outcome = door(experiments, *SMALL, "output_dir=run", *words.split())
    assert outcome.code == 0, outcome.err
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert f"\nlr: {lr}\n" in f"\n{config}"
    assert "run/result.json" in outcome.left_behind


@pytest.mark.parametrize(
    ("override", "part"),
    [
        *((word, "are a study: python train.py -m") for word in ("lr=1,2", "model=mlp,cnn", "lr=interval(1,2)")),
        ("model=null", "the name of an option"),
        ("hydra/launcher=null", "the name of an option"),
    ],
)
def test_what_python_cannot_compose_is_one_short_line(override: str, part: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(override)}: [^\n]*{re.escape(part)}") as refusal:
        compose(override)
    assert len(str(refusal.value)) < 150


def test_python_and_the_command_line_find_the_same_run(door: Door, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = playbook.compose(*SMALL, "seed=3")
    result = playbook.train(config, verbose=False)
    assert result == playbook.load_run(config.output_dir).result
    again = door(*SMALL, "seed=3")
    assert (again.code, again.left_behind) == (0, [])
    assert "finished before" in again.out
    assert config.output_dir in again.out


def test_the_folder_is_printed_in_one_line_however_narrow_the_terminal(door: Door, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    name = "a_folder_with_a_name_of_more_than_thirty_letters"
    assert name in door(*SMALL, f"output_dir={name}").out.splitlines()


# In a process of its own.


def test_help_names_every_group_option_and_key_without_heavy_imports(tmp_path: Path) -> None:
    done = python("-X", "importtime", str(ROOT / "train.py"), "--help", folder=tmp_path)
    assert done.returncode == 0
    for group in (ROOT / "conf").iterdir():
        if group.is_dir():
            assert f"{group.name}:" in done.stdout
            assert all(option.stem in done.stdout for option in group.glob("*.yaml"))
    runs = "lr batch_size max_steps eval_every warmup_steps clip_norm keep_best seed resume overwrite"
    in_blocks = "objective.metric objective.mode data.root data.download data.in_memory"
    trainer = "trainer.device trainer.precision trainer.num_threads"
    for key in [*runs.split(), "output_root", "output_dir", *in_blocks.split(), *trainer.split()]:
        assert key in done.stdout.split(), key
    assert _heavy(done.stderr) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["model=wide_resnet", "data=cifar10", "optimizer=adam", "lr=0.1"]])
def test_cfg_job_shows_the_config_without_heavy_imports(tmp_path: Path, words: list[str]) -> None:
    done = python("-X", "importtime", str(ROOT / "train.py"), "--cfg", "job", *words, folder=tmp_path)
    assert done.returncode == 0
    assert f"lr: {'0.1' if words else '0.05'}" in done.stdout.splitlines()
    assert _heavy(done.stderr) == []
    assert list(tmp_path.iterdir()) == []


def _heavy(import_times: str) -> list[str]:
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in import_times.splitlines() if "|" in line}
    assert "hydra" in loaded
    heavy = "torch lightning pytorch_lightning torchmetrics wandb sklearn scipy polars numpy pydantic"
    return sorted(set(heavy.split()) & loaded)


def test_help_copies_the_configs_once(door: Door, monkeypatch) -> None:
    copied: list[None] = []
    monkeypatch.setattr(CachingConfigRepository, "__init__", _counted(CachingConfigRepository.__init__, copied))
    assert door("--help").code == 0
    assert len(copied) == 1  # to compose; Hydra by itself does so for each group and kind of what is in it


def _counted(function: Callable[..., None], calls: list[None]) -> Callable[..., None]:
    def counted(*given: object) -> None:
        calls.append(None)
        function(*given)

    return counted


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ((), "lr=abc"),
        pytest.param((), "model._target_=os.system", marks=pytest.mark.integration),
        pytest.param(("-O",), "lr=abc", marks=pytest.mark.integration),  # no assertion holds a user back
    ],
)
def test_a_refusal_as_the_shell_sees_it(tmp_path: Path, flags: tuple[str, ...], word: str) -> None:
    done = python(*flags, str(ROOT / "train.py"), word, folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {word}: allowed ")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("words", ["--help", "--cfg job"])
def test_output_to_a_full_disk_is_one_line(tmp_path: Path, words: str) -> None:
    command = f"{sys.executable} {ROOT / 'train.py'} {words} > /dev/full"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: the output cannot be written: No space left on device\n"


def test_a_terminal_that_knows_ascii_alone(tmp_path: Path) -> None:
    done = python(str(ROOT / "train.py"), "--help", folder=tmp_path, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "group=option" in done.stdout


def test_characters_that_the_locale_does_not_have_are_refused(door: Door) -> None:
    """As Python gives them where PYTHONUTF8=0 and the locale is C; what holds them could not be written."""
    word = "study.goal='" + "Größe'".encode().decode("ascii", "surrogateescape")
    assert word.isprintable() is False
    line = door("-m", "lr=0.1,0.2", word, *SMALL).line
    assert line.startswith("study.goal='Gr????e': the locale of this shell (")
    assert "lacks some of these characters; put LC_ALL=C.UTF-8" in line


def test_a_study_and_its_report_on_a_terminal_that_knows_ascii_alone(
    door: Door,
    script_door: Callable[[str], Callable[..., tuple[object, object]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """±, × and what is typed are shown as ?, and stand in the files as they are."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii", line_buffering=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        assert door("-m", "lr=0.1,0.2,1e37", "study.name=s", "study.goal='Größe → α?'", *SMALL).code == 0
        assert script_door("report")("study_dir=outputs/studies/s")[0] == 0
    assert "Gr??e ? ??" in out.buffer.getvalue().decode("ascii")
    assert b"Traceback" not in err.buffer.getvalue()
    assert "Größe → α?" in (tmp_path / "outputs/studies/s/report/index.html").read_text(encoding="utf-8")


def test_hydra_full_error_shows_where_a_fault_was_found(tmp_path: Path) -> None:
    done = python(str(ROOT / "train.py"), "lr=abc", folder=tmp_path, HYDRA_FULL_ERROR="1")
    assert "Traceback" in done.stderr
    assert "InputError: lr=abc" in done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("words", [["model=mlp,cnn"], ["optimizer=choice(adam,sgd)"]])
def test_options_of_a_group_are_swept(door: Door, tmp_path: Path, words: list[str], unreported: None) -> None:
    assert door("-m", *words, "logger=none", "max_steps=2").code == 0
    assert len(list((tmp_path / "outputs" / "studies").glob("*/trial_*"))) == 2


def test_a_refused_trial_of_a_sweep_leaves_the_others(door: Door, tmp_path: Path, unreported: None) -> None:
    sweep = door("-m", "schedule=linear", "schedule.decay_steps=2,9,1", "max_steps=2", "logger=none")
    assert sweep.code == 1
    assert "schedule.decay_steps=9 is more than max_steps=2" in " ".join(sweep.out.split())
    assert len(list((tmp_path / "outputs" / "studies").glob("*/trial_*/result.json"))) == 2


def test_hydras_basic_sweeper_still_works(door: Door, tmp_path: Path) -> None:
    sweep = door("-m", "hydra/sweeper=basic", "seed=0,1", "max_steps=2", "logger=none")
    assert sweep.code == 0
    assert len(list((tmp_path / "outputs" / "runs").glob("*/result.json"))) == 2


def test_a_folder_a_job_of_another_sweeper_is_not_a_studys(door: Door, tmp_path: Path) -> None:
    sweep = door("-m", "hydra/sweeper=basic", "hydra.sweep.subdir=job_${hydra.job.num}", "seed=0,1", *SMALL)
    assert sweep.code == 0
    assert len(list((tmp_path / "outputs" / "runs").glob("*/result.json"))) == 2
    assert list((tmp_path / "outputs").glob("job_*/result.json")) == []


def test_data_of_another_folder_is_another_trial(door: Door, tmp_path: Path) -> None:
    for folder, num_features in (("a", 4), ("b", 7)):
        (tmp_path / folder).mkdir()
        inputs = np.random.default_rng(0).normal(size=(60, num_features))
        np.savez(tmp_path / folder / "x.npz", inputs=inputs, targets=np.arange(60) % 2)
        assert door("data=arrays", "data.path=x.npz", f"data.root={folder}", "logger=none", "max_steps=2").code == 0
    assert len(list((tmp_path / "outputs" / "runs").iterdir())) == 2
