"""The loop's numbers: those of a plain PyTorch loop, and those that it gave when this was written."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_loop import plain_run

import playbook

SETTINGS = {"lr": 0.1, "max_steps": 25, "warmup_steps": 5, "batch_size": 32}
TOTAL_STEPS = 30
CLIP_NORM = 1.75  # 13 of the 30 steps are above it, and no norm within half a percent of it

# fmt: off
GOLDEN_LOSSES = [
    2.396563, 3.004591, 2.621194, 2.479796, 2.342296, 2.051445, 1.941434, 1.739027, 1.776115, 1.741353,
    1.632367, 1.435498, 1.281047, 1.365853, 1.078400, 1.337827, 1.297726, 1.079845, 1.193385, 0.825361,
    0.868983, 0.800540, 0.693752, 1.012440, 0.551303, 0.551157, 0.788960, 0.700496, 0.650395, 1.022789,
]
# fmt: on


@pytest.fixture
def curve(run_trial) -> playbook.Run:
    overrides = [f"{key}={value}" for key, value in SETTINGS.items()]
    model = ["model.width=32", "model.dropout=0.1", "optimizer=momentum"]
    return run_trial(*overrides, *model, "schedule=linear", f"clip_norm={CLIP_NORM}", "eval_every=7", "seed=3")


@pytest.fixture(scope="module")
def reference():
    torch.set_num_threads(1)
    return plain_run(**SETTINGS, width=32, dropout=0.1, decay=True, clip_norm=CLIP_NORM, seed=3)


def test_the_curve_is_that_of_a_plain_loop(curve, reference):
    # clip_grad_norm_ divides by the norm + 1e-6 where E7 divides by the norm: the sixth digit is as far as they agree.
    np.testing.assert_allclose(curve.steps["loss"], reference.losses, rtol=1e-6)
    np.testing.assert_allclose(curve.steps["grad_norm"], reference.grad_norms, rtol=1e-5)


def test_the_curve_is_the_stored_one(curve):
    # 1e-4 is far above what another CPU's order of summation does in 30 steps and far below any change of the method.
    np.testing.assert_allclose(curve.steps["loss"], GOLDEN_LOSSES, rtol=1e-4)


def test_a_row_a_step(curve, reference):
    steps = curve.steps
    assert steps["step"].to_list() == list(range(TOTAL_STEPS))
    np.testing.assert_allclose(steps["lr"], reference.lrs, rtol=1e-12)
    assert (steps["data_seconds"] >= 0).all()
    assert (steps["data_seconds"] <= steps["step_seconds"]).all()


def test_clipped_says_that_the_norm_was_above_the_threshold(curve, reference):
    expected = [norm > CLIP_NORM for norm in reference.grad_norms]
    assert 0 < sum(expected) < TOTAL_STEPS
    assert curve.steps["clipped"].to_list() == expected
    assert curve.steps["grad_norm"].max() > CLIP_NORM  # E7: the norm of before the clip


def test_without_a_threshold_nothing_is_clipped(run_trial):
    run = run_trial("model.width=16", "lr=0.1", "optimizer=sgd")
    reference = plain_run(lr=0.1, max_steps=10, width=16, momentum=0.0)
    np.testing.assert_allclose(run.steps["grad_norm"], reference.grad_norms, rtol=1e-5)
    assert not run.steps["clipped"].any()


def test_a_clipped_update_has_the_norm_of_the_threshold(run_trial):
    # One step of plain SGD at lr 1 from known weights: the update *is* the clipped gradient.
    clip_norm = 0.01
    run = run_trial("optimizer=sgd", "lr=1", "max_steps=1", "model.width=16", f"clip_norm={clip_norm}", "keep_best=2")
    reference = plain_run(lr=1.0, max_steps=1, width=16, momentum=0.0)
    before, after = (
        torch.nn.utils.parameters_to_vector(run.model(step).model.parameters()).detach().double() for step in (0, 1)
    )
    gradient = (reference.weights[0] - reference.weights[1]).double()
    assert run.steps["grad_norm"][0] == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert (before - after).norm().item() == pytest.approx(clip_norm, rel=1e-4)
    torch.testing.assert_close(before - after, clip_norm * gradient / gradient.norm(), rtol=0, atol=2e-7)
