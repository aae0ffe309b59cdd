"""Every option of every group, and every experiment, is composed and trained for a few steps, on files made here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import CIFAR_RECORDS, write_cifar, write_fashion
from shipped import OPTIONS, SHIPPED, needs

from playbook.composition import CONFIG_DIR, compose_config
from playbook.data import formats

RANKS = ("trainer", "ddp")  # new interpreters: test_ddp has two ranks in quicker ones
EVERY = [
    pytest.param(*option, marks=pytest.mark.integration if option == RANKS else ())
    for option in ((group, name) for group, names in OPTIONS.items() for name in names)
]
STEPS = ["max_steps=3", "eval_every=2", "warmup_steps=1", "batch_size=8"]


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """A folder with small files of each kind."""
    root = tmp_path / "data"
    write_fashion(root / "fashion-mnist", "train", 60)
    monkeypatch.setattr(formats, "CIFAR_RECORDS_PER_FILE", CIFAR_RECORDS)
    for number in range(1, 6):
        write_cifar(root / "cifar-10-batches-bin", f"data_batch_{number}.bin", number)
    random = np.random.default_rng(0)
    np.savez(root / "mine.npz", inputs=random.normal(size=(50, 4)), targets=np.arange(50) % 3)
    labels = random.integers(2, size=(50, 3)).astype(np.float32)
    np.savez(root / "multilabel.npz", inputs=random.normal(size=(50, 4)), targets=labels)
    (root / "mine.txt").write_text("All work and no play makes Jack a dull boy.\n" * 20, encoding="utf-8")
    return root


def overrides_of(group: str, option: str, data_root: Path) -> list[str]:
    """The command line that trains this option shortly, with its data taken from `data_root`."""
    words = [f"{group}={option}", *needs(group, option), *STEPS]
    composed = compose_config("train", words)
    data = composed.data._target_.rpartition(".")[2]
    if data in ("FashionMNIST", "CIFAR10", "Arrays"):
        words += [f"data.root={data_root}", "data.val_fraction=0.2"]
    if data == "Text":
        words += [f"data.root={data_root}", "data.path=mine.txt", "data.context=16"]
    if composed.schedule.get("decay_steps") is not None:
        words.append("schedule.decay_steps=2")
    return words


def test_no_group_is_forgotten():
    folders = {path.name for path in Path(CONFIG_DIR).iterdir() if path.is_dir() and any(path.glob("*.yaml"))}
    assert folders == {*SHIPPED, "study"}


@pytest.mark.parametrize(("group", "option"), EVERY, ids=lambda word: word)
def test_an_option_trains(run_trial, data_root, monkeypatch, group, option):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = run_trial(*overrides_of(group, option, data_root), *([] if group == "logger" else ["logger=none"]))
    assert run.result.status == "complete"
    assert run.steps["step"].to_list() == [0, 1, 2, 3]
    assert np.isfinite(run.steps.select("loss", "grad_norm").to_numpy()).all()
    assert run.steps["lr"].to_list()[:2] == [0, run.config.lr]  # warmup, then the base rate
    assert run.evals.filter(metric=run.config.objective.metric)["step"].to_list() == [0, 2, 4]
    if option in SHIPPED[group]:  # a task of one's own may not know its chance
        assert json.loads((run.path / "result.json").read_text())["chance"] is not None
    with torch.no_grad():
        outputs = run.model()(run.config.data.build().load("val").batch(torch.arange(3))[0])
    assert torch.isfinite(outputs).all()


@pytest.mark.parametrize("option", SHIPPED["data"])
def test_every_data_option_has_the_keys_of_the_contract(option):
    block = compose_config("train", [f"data={option}"])["data"]
    assert {"root", "download", "in_memory"} <= set(block.keys())


@pytest.mark.parametrize("option", OPTIONS["optimizer"])
def test_an_optimizer_brings_its_lr_and_the_command_line_wins(trial_config, option):
    assert trial_config(f"optimizer={option}").lr > 0
    assert trial_config("lr=0.123", f"optimizer={option}").lr == 0.123
