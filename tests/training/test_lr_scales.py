"""Shares of the learning rate by parameter, from the command line to the optimizer's groups."""

from __future__ import annotations

import pytest
import torch
from run_state import final_state, kill_at

import playbook
from playbook.errors import InputError
from playbook.optim import Nesterov
from playbook.training import train

WORDS = ("model.width=8", "warmup_steps=2", "schedule=linear", "+lr_scales.head=10", "+lr_scales.blocks.0=0.5")


def test_each_group_has_its_share_at_every_step_and_is_resumed(trial_config, monkeypatch):
    whole, killed = trial_config(*WORDS, folder="whole"), trial_config(*WORDS, folder="killed")
    seen = []
    step = Nesterov.step

    def noted(self, *arguments, **named):
        seen.append({group["lr"]: len(group["params"]) for group in self.param_groups})
        return step(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr("playbook.training.build._check_optimizer", lambda *_: None)  # which takes a step too
        patch.setattr(Nesterov, "step", noted)
        train(whole, verbose=False)
    run = playbook.load_run(whole.output_dir)
    assert run.config.plain()["lr_scales"] == {"head": 10, "blocks": {"0": 0.5}}
    for lr, rates in zip(run.steps["lr"], seen, strict=True):
        assert set(rates) == {lr, lr * 0.5, lr * 10}
        assert lr == 0 or list(rates.values()) == [2, 2, 2]

    kill_at(killed, 8)
    train(killed, verbose=False)
    assert final_state(run.path) == final_state(playbook.load_run(killed.output_dir).path)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_share_of_one_changes_nothing_and_another_does(run_trial, optimizer):
    words = (f"optimizer={optimizer}", "model.width=8", "max_steps=4", "eval_every=4")
    plain, same, other = (
        run_trial(*words, *given, folder=f"run{number}")
        for number, given in enumerate([(), ("+lr_scales.head=1.0",), ("+lr_scales.head=2.0",)])
    )
    losses = [run.steps["loss"].to_list() for run in (plain, same, other)]
    assert losses[0] == losses[1] != losses[2]
    weights = [run.model(4).state_dict() for run in (plain, other)]
    assert not torch.equal(weights[0]["model.head.3.weight"], weights[1]["model.head.3.weight"])


def test_what_no_parameter_is_called_is_refused_before_anything_is_written(trial_config, tmp_path):
    with pytest.raises(InputError, match=r"^lr_scales\.hed=10\.0: .*did you mean head\?.*blocks\.0"):
        train(trial_config("+lr_scales.hed=10"), verbose=False)
    assert list(tmp_path.iterdir()) == []


def test_it_is_searched_in_a_study(door, unreported):
    done = door(
        *("-m", "+lr_scales.head=tag(log,interval(1,100))", "study.name=head", "study.n_trials=2"),
        *("model.width=8", "max_steps=2", "eval_every=2", "logger=none"),
    )
    assert done.code == 0, done.err
    found = playbook.load_study("outputs/studies/head").trials["lr_scales.head"].to_list()
    assert len(set(found)) == 2
    assert all(1 <= share <= 100 for share in found)
    for number, share in enumerate(found):
        config = playbook.load_run(f"outputs/studies/head/trial_{number:05d}").config
        assert config.lr_scales == {"head": share}
