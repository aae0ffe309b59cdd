"""What a fork brings along: its own model, metric and callback; what does not fit is told by its key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from playbook import components
from playbook.data import DatasetSplit
from playbook.data.source import Source
from playbook.errors import CrashError, InputError
from playbook.training import train

HERE = f"{__name__}."


class Tiny(nn.Module):
    """A model whose outputs are `extra` more than they should be."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int, extra: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(num_outputs + extra))
        self.layers(torch.zeros(1, *input_shape))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Frozen(Tiny):
    """A model that forgot to thaw its head."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__(input_shape, num_outputs)
        self.requires_grad_(False)


class Fails(Tiny):
    """A model whose forward pass has a bug."""

    def forward(self, inputs: Tensor) -> Tensor:
        raise KeyError("no such block")


class Stops(pl.Callback):
    """What an early-stopping callback of any name does."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step == 3


class Sees(pl.Callback):
    """Counts the steps that it sees."""

    steps = 0

    def on_train_batch_end(self, *_: object) -> None:
        Sees.steps += 1


class Unfinished(Source):
    """A source that forgot `num_classes`."""

    def load(self, split):
        raise AssertionError


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(components, "TRUSTED_PREFIXES", (*components.TRUSTED_PREFIXES, HERE))


def replaced(trial_config, **blocks):
    """A trial whose component blocks are others."""
    supplied = frozenset({"input_shape", "num_outputs"})
    return replace(trial_config(), **{key: components.check(block, key, supplied) for key, block in blocks.items()})


def test_a_model_of_its_own_trains(trial_config):
    assert train(replaced(trial_config, model={"_target_": f"{HERE}Tiny"}), verbose=False).status == "complete"


def test_a_model_of_the_wrong_shape_is_told_before_anything_is_written(trial_config):
    config = replaced(trial_config, model={"_target_": f"{HERE}Tiny", "extra": 2})
    with pytest.raises(InputError, match=r"Tiny: it gives \(2, 12\) for inputs of \(2, 1, 8, 8\); \(2, 10\) is needed"):
        train(config, verbose=False)
    assert not Path(config.output_dir).exists()


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Frozen", r"model\._target_=.*Frozen: its outputs depend on no parameter that is trained"),
        (
            "Fails",
            r"model: 'no such block' \(KeyError in forward\(\) of inputs of \(2, 1, 8, 8\); HYDRA.*\)",
        ),
    ],
)
def test_a_model_that_cannot_train_is_told_before_anything_is_written(trial_config, name, line):
    config = replaced(trial_config, model={"_target_": f"{HERE}{name}"})
    with pytest.raises(InputError, match=f"^{line}$"):
        train(config, verbose=False)
    assert not Path(config.output_dir).exists()


def test_an_optimizer_that_cannot_step_is_told_before_anything_is_written(trial_config):
    block = {"_target_": "torch.optim.SparseAdam"}
    config = replace(trial_config(), optimizer=components.check(block, "optimizer", frozenset({"params", "lr"})))
    with pytest.raises(InputError, match=r"^optimizer: SparseAdam does not .*step\(\) of SparseAdam"):
        train(config, verbose=False)
    assert not Path(config.output_dir).exists()


def test_a_class_that_is_not_finished_says_what_is_missing():
    with pytest.raises(InputError, match=r"data._target_=.*Unfinished: this class still has to define num_classes"):
        components.check({"_target_": f"{HERE}Unfinished"}, "data").build()


@pytest.mark.parametrize(
    ("metric", "names"),
    [
        ("MulticlassF1Score", {"val/own_name"}),
        ("MulticlassConfusionMatrix", {f"val/own_name/{i}/{j}" for i in range(10) for j in range(10)}),
    ],
)
def test_a_metric_of_its_own_is_evaluated(run_trial, metric, names):
    word = f"+task.metrics.own_name={{_target_: torchmetrics.classification.{metric}, num_classes: 10}}"
    assert names <= set(run_trial(word).evals["metric"])


def test_a_metric_that_does_not_fit_is_one_line(trial_config):
    word = "+task.metrics.f1={_target_: torchmetrics.classification.BinaryF1Score}"
    with pytest.raises(InputError, match=r"^task.metrics: [^\n]+$"):
        train(trial_config(word), verbose=False)


def test_a_callback_of_its_own_sees_every_step(trial_config):
    Sees.steps = 0
    train(trial_config(f"+trainer.callbacks.sees._target_={HERE}Sees"), verbose=False)
    assert Sees.steps == 10


def test_a_callback_that_stops_the_trial_does_not_make_it_complete(trial_config):
    config = trial_config(f"+trainer.callbacks.stops._target_={HERE}Stops")
    with pytest.raises(CrashError, match=r"a callback stopped training at step 3 of 10; .*\(D3\)"):
        train(config, verbose=False)
    assert not (Path(config.output_dir) / "result.json").exists()


def test_a_callback_that_wants_what_is_not_there_is_one_line(trial_config):
    with pytest.raises(InputError, match=r"^trainer.callbacks: [^\n]*logger"):
        train(
            trial_config("+trainer.callbacks.x._target_=pytorch_lightning.callbacks.DeviceStatsMonitor"), verbose=False
        )


@pytest.mark.parametrize(("item", "found"), [(1.0, "float"), (torch.zeros(3, dtype=torch.float64), "float64")])
def test_a_data_set_of_other_than_float32_tensors_is_refused(item, found):
    with pytest.raises(InputError, match=rf"inputs of .*({found}).*; a float32 torch tensor is needed"):
        DatasetSplit([(item, 0)], torch.zeros(1, dtype=torch.int64))
