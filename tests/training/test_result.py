"""`result.json`: the best value over training, its step, and how far above chance it is (A10)."""

from __future__ import annotations

import json

import numpy as np
import pytest

from playbook.training.progress import _REMEDIES


def targets_of(run) -> tuple[np.ndarray, np.ndarray]:
    source = run.config.data.build()
    return tuple(source.load(name).targets.double().numpy() for name in ("train", "val"))


def plain_result(run) -> dict:
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((run.path / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)


def test_the_keys_of_the_contract(run_trial):
    result = plain_result(run_trial("model.width=8", "seed=5", "warmup_steps=3"))
    contract = ("status", "objective", "best_step", "final_objective", "steps", "seconds", "metrics", "seed")
    assert set(contract) <= set(result)
    assert (result["status"], result["steps"], result["seed"]) == ("complete", 13, 5)
    assert result["seconds"] > 0


def test_the_best_value_over_training_and_its_step(run_trial):
    run = run_trial("lr=0.3", "max_steps=60", "eval_every=3", "batch_size=8")
    result, values = plain_result(run), run.evals.filter(metric="val/error")
    best = min(values["value"])
    assert best < values["value"][-1]  # else the best and the final value could be mixed up
    assert result["objective"] == best
    assert result["best_step"] == next(s for s, v in zip(values["step"], values["value"], strict=True) if v == best)
    assert result["final_objective"] == values["value"][-1]
    last = dict(run.evals.filter(step=60).select("metric", "value").iter_rows())
    assert result["metrics"] == last


@pytest.mark.parametrize(("metric", "mode"), [("val/error", "min"), ("val/accuracy", "max")])
def test_chance_is_the_most_frequent_class_of_the_training_split(run_trial, metric, mode):
    run = run_trial(f"objective.metric={metric}", f"objective.mode={mode}", "max_steps=50", "eval_every=50")
    train, val = targets_of(run)
    labels, counts = np.unique(train, return_counts=True)
    missed = np.mean(val != labels[counts.argmax()])
    error = run.evals.filter(metric="val/error")["value"].min()
    result = plain_result(run)
    assert result["chance"] == pytest.approx(missed if metric == "val/error" else 1 - missed, abs=1e-12)
    assert result["above_chance"] == pytest.approx((missed - error) / missed, abs=1e-12)
    assert 0.5 < result["above_chance"] < 1


def test_chance_of_the_loss_is_the_entropy_of_the_training_frequencies(run_trial):
    run = run_trial("objective.metric=val/loss", "max_steps=50")
    train, val = targets_of(run)
    frequencies = np.bincount(train.astype(int)) / len(train)
    expected = -np.log(frequencies[val.astype(int)]).mean()
    assert plain_result(run)["chance"] == pytest.approx(expected, rel=1e-3)  # each class has one more example there


def test_chance_of_a_regression_is_the_mean_of_the_training_split(run_trial):
    run = run_trial("data=diabetes", "task=regression", "max_steps=100", "eval_every=100", "lr=0.02")
    train, val = targets_of(run)
    expected = np.sqrt(np.mean((val - train.mean()) ** 2))
    result = plain_result(run)
    assert result["chance"] == pytest.approx(expected, rel=1e-6)
    assert result["above_chance"] == pytest.approx(1 - result["objective"] / expected, rel=1e-6)


def test_an_objective_on_the_training_split_has_no_chance_level(run_trial):
    result = plain_result(run_trial("objective.metric=train/error", "model.width=8"))
    assert result["chance"] is result["above_chance"] is None
    assert result["status"] == "complete"


def test_worse_than_chance_is_negative(run_trial):
    # Unlearnt standardised outputs have a variance of their own: worse than always saying the mean.
    run = run_trial("data=diabetes", "task=regression", "max_steps=1", "eval_every=1", "lr=1e-9", "seed=1")
    train, val = targets_of(run)
    result = plain_result(run)
    assert result["objective"] > np.sqrt(np.mean((val - train.mean()) ** 2))
    assert result["above_chance"] < 0


def test_a_lower_lr_is_the_last_remedy_of_a_diverged_run():
    """The order of E8."""
    words = _REMEDIES["diverged"]
    order = ["warmup_steps", "clip_norm", "optimizer", "initialisation", "lower lr"]
    assert sorted(order, key=words.index) == order
