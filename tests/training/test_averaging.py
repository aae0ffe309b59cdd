"""Averages of the weights: what torch's own averages are, evaluated beside the raw weights, and no part of training."""

from __future__ import annotations

import pytest
import torch
from run_state import final_state, kill, kill_at
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import playbook
from playbook.data import PassLoader
from playbook.errors import InputError
from playbook.optim import EMA, Polyak
from playbook.training import resume, train
from playbook.training.averaging import AveragedWeights
from playbook.training.checkpoints import best_path, load_of_step

TRIAL = ("model.width=16", "model.dropout=0.2", "max_steps=20", "eval_every=5", "keep_best=9", "lr=0.1")
EMA_WORDS = ("averaging=ema", "averaging.decay=0.8")


@pytest.mark.parametrize(("rule", "start"), [(EMA(0.9), 0), (Polyak(0.0), 0), (Polyak(0.5), 10)])
def test_the_average_is_torchs(rule, start):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    ours = AveragedWeights(model, rule, 20, None)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9) if isinstance(rule, EMA) else None)
    for step in range(1, 21):
        with torch.no_grad():
            for param in model.parameters():
                param += torch.randn_like(param)
        ours.update(step)
        if step > start:
            theirs.update_parameters(model)
        expected = (theirs.module if step > start else model).state_dict()
        for name, value in ours.state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-14, atol=1e-14)


def test_few_digits_do_not_stop_the_average():
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    average = AveragedWeights(model, EMA(0.999), 1000, None)
    with torch.no_grad():
        model.weight.zero_()
        average.update(1)
        model.weight.fill_(1)
    for step in range(2, 1001):
        average.update(step)
    assert average.state_dict()["weight"].mean().item() == pytest.approx(1 - 0.999**999, rel=1e-3)


@pytest.mark.parametrize("norm", ["none", "batch", "ghost_batch"])
def test_it_is_evaluated_beside_the_weights_that_train(run_trial, norm):
    """The trial is that without an average, to the last bit; what is kept has the metrics that are recorded."""
    norm_words = (f"model.norm={norm}",)
    plain = run_trial(*TRIAL, *norm_words, folder="plain")
    run = run_trial(*TRIAL, *norm_words, *EMA_WORDS)
    assert run.steps["loss"].to_list() == plain.steps["loss"].to_list()
    own = ~run.evals["metric"].str.starts_with("val_avg/")
    assert run.evals.filter(own).equals(plain.evals)
    validation = run.config.data.build().load("val")
    for step in (5, 20):
        raw, averaged = run.model(step), run.model(step, averaged=True)
        assert not torch.equal(raw.model.head[3].weight, averaged.model.head[3].weight)
        for predictor, name in ((raw, "val"), (averaged, "val_avg")):
            with torch.no_grad():
                wrong = (predictor(validation.inputs).argmax(-1) != validation.targets).double().mean().item()
            recorded = run.evals.filter(step=step, metric=f"{name}/error")["value"].item()
            assert recorded == pytest.approx(wrong, abs=1e-12)


def test_batch_norm_has_the_statistics_of_the_averaged_weights(run_trial):
    """Those of the activations that the averaged weights give, and not an average of those of others."""
    run = run_trial(*TRIAL, "model.norm=batch", "model.depth=1", *EMA_WORDS)
    model = run.model(20, averaged=True).model
    split = run.config.data.build().load("train")
    ((inputs, _),) = PassLoader(split, batch_size=len(split))
    with torch.no_grad():
        before = model.stem(inputs)
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d))
    assert len(split) < 2048
    torch.testing.assert_close(norm.running_mean, before.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("words", [EMA_WORDS, ("averaging=polyak", "averaging.start_fraction=0.3")])
def test_it_goes_on_bit_for_bit(trial_config, tmp_path, words):
    words = (*TRIAL, *words, "model.norm=batch", "objective.metric=val_avg/error")
    kill(trial_config(*words, folder="whole"), resume, "write_result")
    config = trial_config(*words)
    for step in (3, 8, 15):
        kill_at(config, step)
    kill(config, resume, "write_result")
    assert final_state(tmp_path / "run") == final_state(tmp_path / "whole")


def test_the_objective_can_be_the_average(run_trial):
    run = run_trial(*TRIAL, *EMA_WORDS, "objective.metric=val_avg/error", "keep_best=1")
    evals = run.evals.filter(metric="val_avg/error").sort("value", "step")
    assert (run.result.objective, run.result.best_step) == (evals["value"][0], evals["step"][0])
    assert run.result.chance is not None
    checkpoint = load_of_step(best_path(run.path / "checkpoints", run.result.best_step))
    assert not torch.equal(checkpoint["state_dict"]["model.head.3.weight"], run.model().model.head[3].weight)
    assert torch.equal(checkpoint["averaged_weights"]["head.3.weight"], run.model().model.head[3].weight)


def test_an_average_that_is_not_kept_is_no_objective(trial_config):
    with pytest.raises(InputError, match=r"^objective\.metric=val_avg/error: averaging=none keeps no averaged weights"):
        train(trial_config("objective.metric=val_avg/error"), verbose=False)


def test_an_optimizer_that_averages_by_itself_is_not_averaged_again(trial_config):
    with pytest.raises(InputError, match=r"^averaging\._target_=playbook\.optim\.EMA: ScheduleFreeAdamW averages"):
        train(trial_config("averaging=ema", "optimizer=schedule_free_adamw"), verbose=False)


def test_a_run_without_an_average_has_none_to_give(run_trial):
    run: playbook.Run = run_trial(*TRIAL)
    with pytest.raises(InputError, match="it has no averaged weights"):
        run.model(averaged=True)


def test_keys_that_came_later_do_not_change_an_older_trial(trial_config):
    """A run of before they were there is found again."""
    identity = trial_config().identity()
    assert not any(key.startswith(("averaging", "init_", "freeze", "trainer.compile")) for key in identity)
    assert trial_config("averaging=ema").fingerprint() != trial_config().fingerprint()
    assert trial_config("freeze=[head]").fingerprint() != trial_config().fingerprint()
