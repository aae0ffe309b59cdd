"""A trial that cannot go on is a result, where the reason is the hyperparameters, and else a crash."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch
from plain_loop import plain_run

from playbook.errors import CrashError
from playbook.loggers.base import RunLogger
from playbook.models import MLP
from playbook.training import evaluator, train

NUM_VALIDATION = 359


def first_not_finite(losses, norms) -> int:
    return next(step for step, pair in enumerate(zip(losses, norms, strict=True)) if not np.isfinite(pair).all())


@pytest.mark.parametrize("eval_every", ["7", "100"])
def test_divergence_ends_the_trial_at_its_step(run_trial, eval_every):
    run = run_trial("lr=1e6", "max_steps=300", f"eval_every={eval_every}", "model.width=16")
    reference = plain_run(lr=1e6, max_steps=300, width=16, nesterov=True)
    step = first_not_finite(reference.losses, reference.grad_norms)
    assert 0 < step < 50
    result = run.result
    assert (result.status, result.reason, result.reason_step) == ("infeasible", "diverged", step)
    assert result.objective is result.best_step is result.final_objective is None
    assert result.steps < 300
    assert run.steps["step"].to_list() == list(range(step + 1))
    finite = np.isfinite(run.steps.select("loss", "grad_norm").to_numpy()).all(axis=1)
    assert finite.tolist() == [True] * step + [False]


def test_a_result_without_numbers_is_still_json(run_trial):
    run = run_trial("lr=1e6", "max_steps=100", "eval_every=1", "model.width=16")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    plain = json.loads((run.path / "result.json").read_text(), parse_constant=refuse)
    assert plain["status"] == "infeasible"
    assert plain["reason"] == "diverged"
    assert all(np.isfinite(value) for value in plain["metrics"].values())


def test_an_evaluation_that_is_not_finite_is_divergence_too(run_trial, monkeypatch):
    # The loss of every step is finite, that of the second evaluation is not.
    real, evaluations = evaluator.evaluate, iter(range(100))

    def overflowing(model, task, loader, **rest):
        metrics = real(model, task, loader, **rest)
        is_second = loader.num_examples == NUM_VALIDATION and next(evaluations) == 1
        return metrics | {"loss": float("inf")} if is_second else metrics

    monkeypatch.setattr(evaluator, "evaluate", overflowing)
    run = run_trial("max_steps=10", "eval_every=4", "model.width=8")
    result = run.result
    assert (result.status, result.reason, result.reason_step, result.steps) == ("infeasible", "diverged", 4, 4)
    assert run.evals.filter(metric="val/loss")["value"].to_list()[1:] == [float("inf")]
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step_00000000.ckpt"]
    assert len(run.steps) == 4
    assert "val/loss" not in result.metrics


def failing_at(monkeypatch, step: int, error: BaseException) -> None:
    """The model's forward pass of `step` raises."""
    forward, count = MLP.forward, iter(range(1000))

    def failing(self, inputs):
        if self.training and next(count) == step:
            raise error
        return forward(self, inputs)

    monkeypatch.setattr(MLP, "forward", failing)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore words."),
        MemoryError("no memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_is_a_result(run_trial, monkeypatch, error):
    failing_at(monkeypatch, 6, error)
    result = run_trial("model.width=8").result
    assert (result.status, result.reason, result.reason_step) == ("infeasible", "out_of_memory", 6)
    assert result.steps == 6
    assert result.objective is None
    assert result.reason_message == str(error).splitlines()[0]


@pytest.fixture
def own_interrupt_handler():
    """Whatever a trial does to the handler of Ctrl-C, the tests after it can be stopped."""
    handler = signal.getsignal(signal.SIGINT)
    yield handler
    signal.signal(signal.SIGINT, handler)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug")], ids=["RuntimeError", "KeyError"])
def test_any_other_exception_is_a_crash(trial_config, tmp_path, monkeypatch, error):
    failing_at(monkeypatch, 6, error)
    closed = []
    monkeypatch.setattr(RunLogger, "close", lambda _self, result: closed.append(result))
    with pytest.raises(type(error)):
        train(trial_config("model.width=8"), verbose=False)
    assert not (tmp_path / "run" / "result.json").exists()
    assert (tmp_path / "run" / "checkpoints" / "resume_00000005.ckpt").exists()  # the last commit is kept
    assert closed == [None]


def test_after_a_crash_the_same_command_finishes(trial_config, run_trial, monkeypatch):
    whole = run_trial("model.dropout=0.5", folder="whole")
    with monkeypatch.context() as patch:
        failing_at(patch, 8, RuntimeError("a bug"))
        with pytest.raises(RuntimeError, match="a bug"):
            train(trial_config("model.dropout=0.5"), verbose=False)
    resumed = run_trial("model.dropout=0.5")
    assert resumed.steps["loss"].to_list() == whole.steps["loss"].to_list()
    assert resumed.steps["step"].to_list() == list(range(10))
    assert resumed.evals.equals(whole.evals)
    assert resumed.predictions.equals(whole.predictions)
    assert resumed.result.objective == whole.result.objective


def test_an_interruption_is_handed_on(trial_config, tmp_path, monkeypatch, own_interrupt_handler):
    # The door makes exit code 130 of it, and a second Ctrl-C must still be heard.
    failing_at(monkeypatch, 6, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train(trial_config("model.width=8"), verbose=False)
    assert signal.getsignal(signal.SIGINT) is own_interrupt_handler
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_crash_of_ones_own_code_shows_its_frames_and_not_those_of_the_libraries(door, breaking):
    breaking()
    outcome = door("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=10", "model.width=8")
    assert outcome.code == 1
    lines = outcome.err.splitlines()
    assert lines[0] == "Traceback (HYDRA_FULL_ERROR=1 shows all of it):"
    assert lines[-1] == "RuntimeError: a bug"
    assert 'raise RuntimeError("a bug")' in outcome.err
    assert len(lines) < 8
    assert not any(package in outcome.err for package in ("site-packages", "lightning", "playbook/training"))


@pytest.mark.parametrize(
    ("error", "line"),
    [(StopIteration(), "StopIteration was raised in step 6: "), (SystemExit(0), r"sys.exit\(0\) was called")],
)
def test_what_would_end_the_loop_in_silence_is_a_crash(trial_config, tmp_path, monkeypatch, error, line):
    failing_at(monkeypatch, 6, error)
    with pytest.raises(CrashError, match=f"{line}.* the last commit is kept"):
        train(trial_config("model.width=8"), verbose=False)
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_last_evaluation_that_stops_the_loop_does_not_make_the_trial_complete(trial_config, tmp_path, monkeypatch):
    evaluate = evaluator.Evaluator.evaluate

    def stopping(self, model, precision, step):
        if step == 10:
            raise StopIteration
        return evaluate(self, model, precision, step)

    monkeypatch.setattr(evaluator.Evaluator, "evaluate", stopping)
    with pytest.raises(CrashError, match="StopIteration was raised in step 10: "):
        train(trial_config("model.width=8"), verbose=False)
    assert not (tmp_path / "run" / "result.json").exists()
