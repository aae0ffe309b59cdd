"""What a fork brings along: its own model, task, optimizer, metric; what does not fit is told by its key."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from run_state import final_state, kill_at
from torch import Tensor, nn
from torchmetrics import Metric

import playbook
from playbook import components
from playbook.data import DatasetSplit
from playbook.data.source import Source
from playbook.errors import CrashError, InputError
from playbook.tasks import Classification, Regression
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
    """A source that forgot `load`."""

    num_classes = 3


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))


def replaced(trial_config, *overrides, folder="run", **blocks):
    """A trial whose component blocks are others."""
    supplied = frozenset({"input_shape", "num_outputs"})
    return replace(
        trial_config(*overrides, folder=folder),
        **{key: components.check(block, key, supplied) for key, block in blocks.items()},
    )


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
    with pytest.raises(InputError, match=r"data._target_=.*Unfinished: this class still has to define load"):
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


class Frozen(Tiny):
    """A model with nothing left to train."""

    def __init__(self, input_shape: tuple[int, ...], num_outputs: int) -> None:
        super().__init__(input_shape, num_outputs)
        self.requires_grad_(False)


class Detached(Tiny):
    """A model whose outputs do not know where they come from."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs).detach()


class LayerWise(torch.optim.SGD):
    """Each parameter group has a tenth of the rate of the one before it."""

    def __init__(self, params: list[dict[str, Any]], lr: float) -> None:
        every = [param for group in params for param in group["params"]]
        super().__init__([{"params": [param], "lr": lr * 0.1**i} for i, param in enumerate(every)], lr=lr)


class OnlyNoise(Metric):
    """What a task of its own logs, without `error` and `loss`."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += outputs.float().sum()

    def compute(self) -> dict[str, Tensor]:
        return {"total": self.total}


class NoError(Classification):
    """A task that has neither `error` nor `loss`."""

    def own_metrics(self) -> Metric:
        return OnlyNoise()


class GaussianNll(Regression):
    """Two outputs a target: its mean and the logarithm of its variance, in standardised units."""

    def __init__(self, train_targets: Tensor, num_classes: int | None) -> None:
        super().__init__(train_targets, num_classes)
        self.num_outputs = 2 * train_targets.shape[1]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        mean, log_variance = outputs.chunk(2, dim=-1)
        return nn.functional.gaussian_nll_loss(mean, (targets - self.mean) / self.std, log_variance.exp())

    def own_metrics(self) -> Metric:
        return OnlyNoise()

    def predict(self, outputs: Tensor) -> Tensor:
        return super().predict(outputs.chunk(2, dim=-1)[0])


class BadMetric(Metric):
    """Raises an exception of its own kind where `when` says."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        if self.when == "update":
            raise KeyError("no such thing")

    def compute(self) -> Tensor:
        raise AssertionError("not\nthis")


@pytest.mark.parametrize("name", ["Frozen", "Detached"])
def test_a_model_with_nothing_to_train_is_told_before_anything_is_written(trial_config, tmp_path, name):
    config = replaced(trial_config, model={"_target_": f"{HERE}{name}"})
    with pytest.raises(InputError, match=rf"^model._target_=.*{name}: nothing in it can be trained: [^\n]*$"):
        train(config, verbose=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("norm", ["batch", "ghost_batch"])
@pytest.mark.parametrize("devices", [(), ("trainer=ddp", "trainer.num_devices=2")])
def test_batch_norm_of_one_example_is_told_before_anything_is_written(trial_config, tmp_path, norm, devices):
    batch_size = 2 if devices else 1
    config = trial_config(f"batch_size={batch_size}", f"model.norm={norm}", *devices)
    with pytest.raises(
        InputError, match=rf"^batch_size={batch_size}\b.* one example at a time [^\n]*larger batch_size$"
    ):
        train(config, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_one_example_at_a_time_is_trained_by_a_model_that_can(run_trial):
    assert run_trial("batch_size=1", "model.norm=layer").result.status == "complete"


@pytest.mark.parametrize("when", ["update", "compute"])
def test_a_metric_that_raises_is_one_line(trial_config, tmp_path, when):
    config = trial_config(f"+task.metrics.mine={{_target_: {HERE}BadMetric, when: {when}}}")
    with pytest.raises(InputError, match=r"^task.metrics: [^\n]+$"):
        train(config, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_groups_keep_their_share_of_the_learning_rate(trial_config, monkeypatch):
    rates: dict[int, list[float]] = {}
    step = LayerWise.step

    def noted(self, *arguments, **named):
        rates.setdefault(len(rates), [group["lr"] for group in self.param_groups])
        return step(self, *arguments, **named)

    monkeypatch.setattr("playbook.training.build._check_optimizer", lambda *_: None)  # which takes a step too
    monkeypatch.setattr(LayerWise, "step", noted)
    block = {"_target_": f"{HERE}LayerWise"}
    optimizer = components.check(block, "optimizer", frozenset({"params", "lr"}))
    config = replace(trial_config("warmup_steps=2", "schedule=linear", "lr=0.05"), optimizer=optimizer)
    kill_at(config, 8)
    train(config, verbose=False)
    run = playbook.load_run(config.output_dir)
    base = run.steps["lr"].to_list()
    assert len(set(base)) > 5
    assert len(rates) == 8 + 12 - 5  # the steps after the commit at 5 are done again
    for row, step_of_row in enumerate([*range(8), *range(5, 12)]):
        expected = [base[step_of_row] * 0.1**i for i in range(len(rates[row]))]
        assert rates[row] == pytest.approx(expected, rel=1e-12)
        assert rates[row][0] == base[step_of_row]


def test_a_task_without_error_needs_none(trial_config, tmp_path):
    supplied = frozenset({"num_classes", "train_targets"})
    task = components.check({"_target_": f"{HERE}NoError"}, "task", supplied)
    with pytest.raises(InputError, match=r"^objective.metric=val/error: this task has val/total$"):
        train(replace(trial_config(), task=task), verbose=False)
    assert list(tmp_path.iterdir()) == []
    config = replace(trial_config("objective.metric=val/total"), task=task)
    assert train(config, verbose=False).objective_metric == "val/total"
    run = playbook.load_run(config.output_dir)
    assert set(run.evals["metric"]) == {"val/total"}


def test_a_task_with_more_outputs_than_targets_is_read_back(trial_config):
    supplied = frozenset({"num_classes", "train_targets"})
    task = components.check({"_target_": f"{HERE}GaussianNll"}, "task", supplied)
    config = replace(trial_config("data=diabetes", "task=regression", "objective.metric=val/total"), task=task)
    train(config, verbose=False)
    validation = config.data.build().load("val")
    predictions = playbook.load_run(config.output_dir).model()(validation.inputs)
    assert predictions.shape == validation.targets.shape


class Noisy(Tiny):
    """A model that draws from Python's and numpy's own generators."""

    def forward(self, inputs: Tensor) -> Tensor:
        noise = random.random() + np.random.normal() if self.training else 0.0
        return super().forward(inputs + noise)


def test_numpy_and_random_are_functions_of_the_step_too(trial_config, tmp_path):
    block = {"_target_": f"{HERE}Noisy"}
    train(replaced(trial_config, folder="whole", model=block), verbose=False)
    config = replaced(trial_config, model=block)
    for step in (3, 8):
        kill_at(config, step)
        random.seed(step)
        np.random.seed(step)
    train(config, verbose=False)
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")
    seeded = replaced(trial_config, "seed=1", folder="seed", model=block)
    train(seeded, verbose=False)
    assert final_state(tmp_path / "seed")["steps.csv"] != final_state(tmp_path / "whole")["steps.csv"]
