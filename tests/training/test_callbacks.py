"""Lightning's own callbacks: they work, across a resume too, or are refused in a line that leaves nothing behind."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from run_state import final_state, kill, kill_at

import playbook
from playbook import components
from playbook.errors import InputError
from playbook.training import resume, train

TRIAL = ("model.width=16", "model.dropout=0.2", "max_steps=20", "eval_every=5", "keep_best=5", "lr=0.1")
EMA = "+trainer.callbacks.ema={_target_: pytorch_lightning.callbacks.EMAWeightAveraging, decay: 0.8}"


class OwnCheckpoint(pl.callbacks.Checkpoint):
    """A checkpoint callback of a user's own."""


class OwnBar(pl.callbacks.RichProgressBar):
    """A progress bar of a user's own."""


class WantsALogger(pl.Callback):
    """Finds out when training begins, as Lightning's own monitors do."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        raise pl.utilities.exceptions.MisconfigurationException("it cannot be used with `Trainer(logger=False)`")


class Average(pl.Callback):
    """The average of the weights with a decay of 0.8, written another way; `seen` at each evaluation's step."""

    def __init__(self) -> None:
        self.average: dict[str, torch.Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.average = deepcopy(pl_module.state_dict())
        SEEN[0] = deepcopy(self.average)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        now = pl_module.state_dict()
        first = trainer.global_step == 1  # torch's average begins with the first weights that it is told
        for name, value in self.average.items():
            if value.is_floating_point():
                self.average[name] = now[name].clone() if first else 0.8 * value + 0.2 * now[name]
        SEEN[trainer.global_step] = deepcopy(self.average)


SEEN: dict[int, dict[str, torch.Tensor]] = {}


@pytest.fixture(autouse=True)
def _trusted(monkeypatch):
    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))


def test_what_is_evaluated_and_kept_are_the_averaged_weights(run_trial):
    SEEN.clear()
    run = run_trial(*TRIAL, EMA, f"+trainer.callbacks.own._target_={__name__}.Average")
    validation = run.config.data.build().load("val")
    for step in (0, 5, 10, 15, 20):
        predictor = run.model(step)
        for name, value in predictor.state_dict().items():
            torch.testing.assert_close(value, SEEN[step][name], rtol=1e-5, atol=1e-7)
        with torch.no_grad():
            wrong = (predictor(validation.inputs).argmax(-1) != validation.targets).double().mean().item()
        assert run.evals.filter(step=step, metric="val/error")["value"].item() == pytest.approx(wrong, abs=1e-12)


def test_averaging_does_not_change_the_training(run_trial):
    plain, averaged = run_trial(*TRIAL, folder="plain"), run_trial(*TRIAL, EMA, folder="averaged")
    assert averaged.steps["loss"].to_list() == plain.steps["loss"].to_list()
    assert averaged.evals.filter(step=20).rows() != plain.evals.filter(step=20).rows()


def test_the_average_survives_a_resume_to_the_last_bit(trial_config, tmp_path):
    kill(trial_config(*TRIAL, EMA, folder="whole"), resume, "write_result")
    config = trial_config(*TRIAL, EMA)
    for step in (3, 8, 15):
        kill_at(config, step)
    kill(config, resume, "write_result")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: 0.1", "EMAWeightAveraging"),
        ("pytorch_lightning.callbacks.RichProgressBar", "shows the progress of the trial already"),
        ("pytorch_lightning.callbacks.LearningRateMonitor", "steps.csv"),
        (f"{__name__}.OwnCheckpoint", "keep_best"),
        (f"{__name__}.OwnBar", "shows the progress of the trial already"),
        ("pytorch_lightning.callbacks.DeviceStatsMonitor", "logger"),
        ("pytorch_lightning.callbacks.LearningRateFinder", "study=learning_rate"),
        ("pytorch_lightning.callbacks.BatchSizeFinder", "set batch_size"),
        ("pytorch_lightning.callbacks.BackboneFinetuning", "freeze parameters within the model"),
        (f"{__name__}.WantsALogger", "logger"),
    ],
)
def test_a_callback_that_is_refused_leaves_nothing_behind(trial_config, tmp_path, target, line):
    config = trial_config(f"+trainer.callbacks.mine={{_target_: {target}}}")
    with pytest.raises(InputError, match=rf"^trainer\.callbacks[^\n]*{line}[^\n]*$"):
        train(config, verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_a_callback_that_is_refused_leaves_what_somebody_else_put_there(trial_config, tmp_path):
    folder = tmp_path / "run"
    config = trial_config()
    kill_at(config, 7)
    before = playbook.load_run(folder).steps
    refused = trial_config(f"+trainer.callbacks.mine={{_target_: {__name__}.WantsALogger}}", "overwrite=true")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError):
        train(refused, verbose=False)
    assert (folder / "notes.txt").exists()
    assert before.height
    assert Path(folder, "config.yaml").exists()
