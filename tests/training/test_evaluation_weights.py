"""A run whose optimizer evaluates other weights than it trains."""

from __future__ import annotations

import pytest
import torch
from run_state import final_state, kill_at

import playbook
from playbook.training import train


@pytest.mark.parametrize("optimizer", ["schedule_free_adamw", "schedule_free_sgd"])
def test_a_run_evaluates_and_keeps_the_average_and_resumes_bit_for_bit(trial_config, optimizer: str) -> None:
    words = (f"optimizer={optimizer}", "model.width=8", "warmup_steps=3", "keep_best=9")
    whole, killed = trial_config(*words, folder="whole"), trial_config(*words, folder="killed")
    train(whole, verbose=False)
    kill_at(killed, 7)
    train(killed, verbose=False)
    run_of = playbook.load_run(whole.output_dir)
    assert final_state(run_of.path) == final_state(playbook.load_run(killed.output_dir).path)

    validation = whole.data.build().load("val")
    for step in run_of.best_steps:
        model = run_of.model(step)
        with torch.no_grad():
            loss = model.task.loss(model.model(validation.inputs), validation.targets).item()
        recorded = run_of.evals.filter(step=step, metric="val/loss")["value"].item()
        assert loss == pytest.approx(recorded, rel=1e-5)
    assert len(run_of.best_steps) == 4
