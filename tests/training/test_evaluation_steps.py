"""When a trial is evaluated: before the first step, at the interval, and after the last step, always (D2)."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from playbook.training import train


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (("max_steps=10", "eval_every=5"), [0, 5, 10]),
        (("max_steps=11", "eval_every=4"), [0, 4, 8, 11]),
        (("max_steps=9", "eval_every=4", "warmup_steps=3"), [0, 4, 8, 12]),  # warmup is prepended: 12 steps
        (("max_steps=9", "eval_every=4", "warmup_steps=2"), [0, 4, 8, 11]),
        (("max_steps=3", "eval_every=100"), [0, 3]),
        (("max_steps=2", "eval_every=1"), [0, 1, 2]),
        (("max_steps=1", "eval_every=1"), [0, 1]),
    ],
)
def test_the_steps_of_the_evaluations(run_trial, overrides, steps):
    run = run_trial(*overrides, "model.width=8")
    assert run.evals.filter(metric="val/error")["step"].to_list() == steps
    metrics = ("val/error", "val/loss", "val/accuracy", "train/error", "train/eval_loss")
    for metric in metrics:
        assert run.evals.filter(metric=metric)["step"].to_list() == steps
    assert run.predictions["step"].unique(maintain_order=True).to_list() == steps
    assert run.steps["step"].to_list() == list(range(steps[-1]))
    assert run.result.steps == steps[-1]


def test_evaluating_more_often_does_not_change_the_training(run_trial):
    # Dropout draws every step: an evaluation that touched the generators would move it.
    often = run_trial("eval_every=1", "model.dropout=0.5", folder="often")
    seldom = run_trial("eval_every=10", "model.dropout=0.5", folder="seldom")
    assert often.steps["loss"].to_list() == seldom.steps["loss"].to_list()
    assert often.evals.filter(step=10).drop("step").equals(seldom.evals.filter(step=10).drop("step"))


def test_predictions_are_those_of_a_fixed_sample(run_trial):
    run = run_trial("model.width=8", "keep_best=3", "lr=0.2")
    val = run.config.data.build().load("val")
    first = run.predictions.filter(step=0)
    assert len(first) == 64
    assert first["example"].n_unique() == 64
    for step in (0, 5, 10):
        rows = run.predictions.filter(step=step)
        assert rows["example"].to_list() == first["example"].to_list()
        probabilities = run.model(step)(val.inputs[rows["example"].to_list()])
        assert rows["target"].to_list() == [str(y) for y in val.targets[rows["example"].to_list()].tolist()]
        assert rows["prediction"].to_list() == [str(y) for y in probabilities.argmax(1).tolist()]
        assert rows["score"].to_list() == pytest.approx(probabilities.amax(1).tolist(), rel=1e-5)
    assert first["prediction"].to_list() != run.predictions.filter(step=10)["prediction"].to_list()


def test_another_trial_is_judged_on_the_same_sample(run_trial):
    one, other = (run_trial("model.width=8", f"seed={seed}", folder=str(seed)) for seed in (0, 1))
    columns = ("step", "example", "target")
    assert one.predictions.select(columns).equals(other.predictions.select(columns))
    assert not one.predictions.equals(other.predictions)


def test_the_training_error_is_of_the_training_split_without_dropout(run_trial):
    run = run_trial("model.dropout=0.5", "max_steps=40", "eval_every=40")
    train = run.config.data.build().load("train")  # 1168 examples: all of them are the sample
    missed = run.model(40)(train.inputs).argmax(1) != train.targets
    recorded = run.evals.filter(pl.col("metric") == "train/error", step=40)["value"].item()
    assert recorded == pytest.approx(missed.double().mean().item(), abs=1e-12)


@pytest.fixture
def skewed(tmp_path):
    """What trains on three classes and validates on two, nearly all of one."""
    targets = np.arange(200) % 3
    np.savez(
        tmp_path / "skewed.npz",
        inputs=np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32),
        targets=targets,
        val_inputs=np.zeros((50, 4), np.float32),
        val_targets=np.zeros(50, np.int64) + (np.arange(50) > 47),
    )
    return "data=arrays", f"data.path={tmp_path / 'skewed.npz'}", "model.width=4"


def test_a_skewed_split_is_told_once_for_all_trials_of_a_process(trial_config, skewed, capfd):
    for seed in range(3):
        train(trial_config(*skewed, f"seed={seed}", folder=f"run{seed}"), verbose=False)
    assert capfd.readouterr().err.count("distributed otherwise") == 1


@pytest.mark.integration
def test_the_first_of_the_ranks_tells_a_skewed_split(trial_config, skewed, capfd):
    train(trial_config(*skewed, folder="here"), verbose=False)
    capfd.readouterr()  # this process has told it
    train(trial_config(*skewed, "trainer=ddp", "trainer.num_devices=2", folder="ranks"), verbose=False)
    assert capfd.readouterr().err.count("distributed otherwise") == 1
