"""What a trial takes, by a clock that counts its work: a second a training step, ten a batch of an evaluation."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from playbook.config import Config
from playbook.errors import InputError
from playbook.models import MLP
from playbook.training import timing
from playbook.training_app import TrainingApp

STEP, BATCH = 1.0, 10.0
BATCHES = 4
"""Of an evaluation of digits: the validation split, the training split in two, the kept examples."""


class Work:
    """A clock that goes on by the work of the model alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    clock, forward = Work(), MLP.forward

    def counted(self, inputs):
        clock.steps += self.training
        clock.seconds += STEP if self.training else BATCH
        return forward(self, inputs)

    monkeypatch.setattr(MLP, "forward", counted)
    return clock


@pytest.fixture
def plain(trial_config: Callable[..., Config]) -> Callable[..., dict]:
    return lambda *overrides: replace(trial_config("data=digits", *overrides), output_dir=None).plain()


@pytest.mark.parametrize(
    ("total_steps", "eval_every", "evaluations"), [(10_000, 1000, 11), (10_000, 3000, 5), (2, 1, 3), (1, 5, 2)]
)
def test_steps_and_evaluations_are_counted(
    work: Work, plain: Callable[..., dict], total_steps: int, eval_every: int, evaluations: int
) -> None:
    seconds = timing.seconds_of_trial(plain(f"max_steps={total_steps}", f"eval_every={eval_every}"), work)
    assert seconds == pytest.approx(total_steps * STEP + evaluations * BATCHES * BATCH)
    assert work.steps <= timing.FIRST_STEPS + timing.SECONDS / STEP  # a few, and not all of them


def test_a_trial_whose_loss_is_not_finite_tells_nothing(work: Work, plain: Callable[..., dict]) -> None:
    assert timing.seconds_of_trial(plain("max_steps=1000", "lr=1e30", "optimizer=sgd"), lambda: 0.0) is None


def test_nothing_is_written(
    work: Work, plain: Callable[..., dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = plain("max_steps=1000", "logger=wandb")  # whose import makes temporary folders of its own
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert timing.seconds_of_trial(config, work) is not None
    assert list(tmp_path.rglob("*")) == []


def test_data_that_are_not_here_are_not_fetched(plain: Callable[..., dict], tmp_path: Path) -> None:
    config = plain("data=fashion_mnist", f"data.root={tmp_path}", "data.download=true")
    with pytest.raises(InputError, match="data"):
        timing.seconds_of_trial(config)
    assert list(tmp_path.rglob("*")) == []


def test_a_process_that_fails_tells_nothing(plain: Callable[..., dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    assert TrainingApp().seconds_of_trial(plain()) is None


@pytest.mark.integration
def test_the_plan_asks_a_process_of_its_own(plain: Callable[..., dict], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playbook.training_app.TIMING_SECONDS", 300.0)
    seconds = TrainingApp().seconds_of_trial(plain("max_steps=10_000_000", "eval_every=10_000_000"))
    assert seconds is not None
    assert seconds > 10  # no machine does a step in a microsecond
    assert TrainingApp().num_steps(plain("max_steps=1000", "warmup_steps=50")) == 1050


def test_what_takes_too_long_to_find_out_stays_unknown(
    plain: Callable[..., dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("playbook.training_app.TIMING_SECONDS", 0.01)
    assert TrainingApp().seconds_of_trial(plain()) is None
