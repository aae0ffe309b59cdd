"""How many examples are judged, how many at a time, and how far the judgement can be off."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from playbook.batch import Batch
from playbook.tasks import Classification
from playbook.training import eval_batch_size as sizes
from playbook.training import evaluator


def recorded(run, step: int = 10) -> dict[str, float]:
    return dict(run.evals.filter(step=step).select("metric", "value").iter_rows())


def test_the_size_of_the_batch_does_not_change_what_is_recorded(run_trial):
    settings = ("data.in_memory=false", "trainer.precision=64-true", "model.width=16")
    whole = run_trial(*settings, folder="whole")
    for size in (1, 7, 5000):
        other = run_trial(*settings, f"eval_batch_size={size}", folder=f"of-{size}")
        assert other.evals["metric"].equals(whole.evals["metric"])
        assert other.evals["value"].to_list() == pytest.approx(whole.evals["value"].to_list(), rel=1e-12)
        assert other.predictions["example"].equals(whole.predictions["example"])


def test_the_batch_is_as_large_as_the_budget_and_a_power_of_two(monkeypatch):
    model, task = nn.Sequential(nn.Linear(8, 100), nn.ReLU(), nn.Linear(100, 3)), Classification(torch.arange(3), 3)
    batch = Batch(torch.zeros(2, 8), torch.tensor([0, 1]))
    assert sizes.peak_bytes(model, task, batch) == 2 * 2 * 100 * 4  # before and after the ReLU
    assert sizes.eval_batch_size(model, task, batch, 64) == 1024
    assert sizes.eval_batch_size(model, task, batch, 5000) == 5000
    monkeypatch.setattr(sizes, "BUDGET", 50 * 800)
    assert sizes.eval_batch_size(model, task, batch, 8) == 32
    monkeypatch.setattr(sizes, "BUDGET", 1)
    assert sizes.eval_batch_size(model, task, batch, 1) == 1


def test_an_evaluation_that_runs_out_of_memory_is_done_with_less(run_trial, monkeypatch):
    real, tried = evaluator.evaluate, []

    def small(model, task, loader, **rest):
        tried.append(max(map(len, loader._make_batch.chunks)))
        if tried[-1] > 100:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return real(model, task, loader, **rest)

    expected = run_trial(folder="expected")
    monkeypatch.setattr(evaluator, "evaluate", small)
    run = run_trial()
    assert tried[:4] == [359, 359, 256, 128]
    assert run.evals["value"].to_list() == pytest.approx(expected.evals["value"].to_list(), rel=1e-5)
    assert run_trial("eval_batch_size=512", folder="given").result.reason == "out_of_memory"


def test_the_standard_error_is_that_of_the_mean_over_examples(run_trial):
    run = run_trial("keep_best=9")
    validation = run.config.data.build().load("val")
    wrong = (run.model(10)(validation.inputs).argmax(-1) != validation.targets).double().numpy()
    assert recorded(run)["val/error_se"] == pytest.approx(wrong.std(ddof=1) / np.sqrt(len(wrong)), rel=1e-9)
    assert "val/loss_se" not in recorded(run)
    best = recorded(run, run.result.best_step)
    assert (run.result.objective_se, run.result.n_examples) == (best["val/error_se"], len(wrong))


def test_the_standard_error_of_a_root_mean_square_is_that_of_resampling(run_trial):
    run = run_trial("data=diabetes", "task=regression", "optimizer=adam", "lr=0.01", "keep_best=9")
    validation = run.config.data.build().load("val")
    with torch.no_grad():
        squares = (run.model(10)(validation.inputs) - validation.targets).square().flatten().double().numpy()
    again = np.random.default_rng(0).choice(squares, (4000, len(squares))).mean(1) ** 0.5
    assert recorded(run)["val/error_se"] == pytest.approx(again.std(), rel=0.1)


def test_a_sample_is_judged_and_at_the_end_the_whole_split_too(run_trial, capfd):
    whole, sample = run_trial(folder="whole"), run_trial("eval_examples=100", "keep_best=9")
    assert sum(value for name, value in recorded(sample, 0).items() if "examples/" in name) == 100
    assert recorded(sample)["val_full/error"] == recorded(whole)["val/error"]
    assert recorded(sample)["val_full/error_se"] == recorded(whole)["val/error_se"]
    assert "val_full/error" not in recorded(sample, 5)
    assert sample.result.n_examples == 100
    assert sample.result.objective == min(sample.evals.filter(metric="val/error")["value"])
    assert run_trial("eval_examples=359", folder="all").evals.equals(whole.evals)
    assert "eval_examples" not in capfd.readouterr().err


def test_a_sample_that_misleads_is_told(run_trial, monkeypatch, capfd):
    from playbook.data import stratify

    easiest = {"seen": None}
    real = stratify.sample_of

    def chosen(split, size, seed):
        return real(split, size, seed) if size != 100 else easiest["seen"]

    first = run_trial("optimizer=adam", "lr=0.01", "max_steps=20", folder="first")
    validation = first.config.data.build().load("val")
    right = first.model(20 if 20 in first.best_steps else None)(validation.inputs).argmax(-1) == validation.targets
    easiest["seen"] = torch.argsort(right.int(), stable=True)[-100:].sort().values
    monkeypatch.setattr(evaluator, "sample_of", chosen)
    run_trial("optimizer=adam", "lr=0.01", "max_steps=20", "eval_examples=100")
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "eval_examples" in line]
    assert "more than chance explains" in line


def test_keys_that_came_later_leave_a_trial_what_it_was(trial_config):
    from playbook.config import identity

    plain = trial_config().plain()
    names = set(identity(plain))
    assert not names & {"eval_batch_size", "eval_examples", "trainer.micro_batch_size"}
    assert "eval_examples" in identity(trial_config("eval_examples=100").plain())
    more = trial_config("data.num_workers=2")
    assert more.fingerprint() == trial_config("data.num_workers=auto").fingerprint()
