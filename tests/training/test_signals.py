"""Signals: a trial that is asked to stop does so at the end of a step, saved, and the same command ends it as if never
asked."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import warm
from conftest import config_of
from pytorch_lightning import Callback, LightningModule, Trainer
from run_state import final_state
from torch.utils.data import DataLoader

from playbook.config import Config
from playbook.run_files import STEPS, read_table
from playbook.training import train
from playbook.training.checkpoints import step_of
from playbook.training.loop import TrialLoop
from playbook.training.signals import SIGNALS, Interrupts

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGUSR2: 143}
OF_A_COMMAND = (signal.SIGINT, signal.SIGTERM)  # a process takes seconds to start: the others are sent to this one
TRIAL = ("model.dropout=0.1", "max_steps=2000", "eval_every=125", "lr=0.02", "optimizer=adamw", "keep_best=2")
SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "batch_size=32")


@dataclass(frozen=True)
class Outcome:
    """How a process ended, and what it left to go on from."""

    code: int
    err: list[str]
    newest: int
    rows: int
    finished: bool


def newest_commit(folder: Path) -> int:
    return max(map(step_of, (folder / "checkpoints").glob("resume_*.ckpt")), default=-1)


def start(folder: Path, *overrides: str) -> warm.Command:
    return warm.start(ROOT / "train.py", *SMALL, *overrides, f"output_dir={folder}", folder=folder.parent)


def outcome(process: warm.Command, folder: Path) -> Outcome:
    lines = process.communicate(timeout=60)[1].splitlines()
    err = [line for line in lines if not line.startswith("step ")]  # those of a slow machine's progress
    rows = len(read_table(folder, STEPS))
    return Outcome(process.wait(), err, newest_commit(folder), rows, (folder / "result.json").exists())


def interrupt_a_command(folder: Path, signum: signal.Signals) -> Outcome:
    """`python train.py …` gets the signal as soon as it has committed something."""
    before = newest_commit(folder)
    with start(folder, *TRIAL) as process:
        try:
            while newest_commit(folder) <= before and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signum)
            return outcome(process, folder)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, Outcome], Outcome]:
    """One trial in three processes: two are stopped, each by a signal of its own, the third comes to the end."""
    folder = tmp_path_factory.mktemp("chain") / "run"
    stopped = {signum: interrupt_a_command(folder, signum) for signum in OF_A_COMMAND}
    with start(folder, *TRIAL) as process:
        return folder, stopped, outcome(process, folder)


@pytest.mark.integration
@pytest.mark.parametrize("signum", OF_A_COMMAND)
def test_a_signal_stops_the_command_with_its_code(chain, signum):
    _, stopped, _ = chain
    end = stopped[signum]
    assert end.code == CODES[signum], end.err
    assert not end.finished
    first, last = end.err
    assert first == f"{signal.Signals(signum).name}: stopping at the end of this step"
    said = re.fullmatch(r"stopped; saved at step (\d+) of 2000: the same command goes on from there", last)
    assert said is not None
    assert end.newest == end.rows == int(said[1])


@pytest.mark.integration
def test_the_same_command_ends_it_as_if_never_stopped(chain, tmp_path):
    folder, stopped, end = chain
    assert (end.code, end.err) == (0, [])
    steps = [outcome.newest for outcome in stopped.values()]
    assert steps == sorted(set(steps))  # each went on from where the one before had stopped
    train(config_of(tmp_path / "twin", *SMALL, *TRIAL), verbose=False)
    assert final_state(folder) == final_state(tmp_path / "twin")


@pytest.mark.integration
def test_a_second_ctrl_c_ends_at_once(tmp_path):
    """In a step that takes ten minutes, the first is noted and the second does not wait."""
    script = f"""
import runpy, sys, time
from playbook.training.loop import TrialLoop
TrialLoop.training_step = lambda *_: (print("in a step", flush=True), time.sleep(600))
sys.argv = ["train.py", *{SMALL!r}, "max_steps=10", "eval_every=5", "output_dir={tmp_path}/run"]
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
"""
    command = [sys.executable, "-c", script]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        try:
            assert process.stdout.readline() == "in a step\n"
            process.send_signal(signal.SIGINT)
            assert process.stderr.readline() == "SIGINT: stopping at the end of this step\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
    assert newest_commit(tmp_path / "run") == 0


# In this process.


@pytest.fixture
def _handlers() -> Iterator[None]:
    """The handlers of this process are put back."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


pytestmark = pytest.mark.usefixtures("_handlers")


def send_at(monkeypatch: pytest.MonkeyPatch, step: int, signum: int) -> dict[int, Any]:
    """This process gets `signum` when a trial begins `step`; the handlers that there are then."""
    seen: dict[int, Any] = {}
    real = TrialLoop.on_train_batch_start

    def sending(module: TrialLoop, *arguments: Any) -> None:
        real(module, *arguments)
        if module.step == step and not seen:
            seen.update({signum: signal.getsignal(signum) for signum in SIGNALS})
            os.kill(os.getpid(), signum)

    monkeypatch.setattr(TrialLoop, "on_train_batch_start", sending)
    return seen


def stop(config: Config) -> int:
    with pytest.raises(SystemExit) as end:
        train(config, verbose=False)
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize("signum", CODES)
def test_every_signal_stops_a_trial_with_its_code(trial_config, tmp_path, monkeypatch, capfd, signum):
    send_at(monkeypatch, 6, signum)
    assert stop(trial_config("model.width=8")) == CODES[signum]
    assert capfd.readouterr().err.splitlines() == [
        f"{signal.Signals(signum).name}: stopping at the end of this step",
        "stopped; saved at step 7 of 10: the same command goes on from there",
    ]
    assert not (tmp_path / "run" / "result.json").exists()


# The first step, the last before an evaluation, one between two; and one with workers that have to go.
@pytest.mark.parametrize(("step", "workers"), [(0, 0), (4, 0), (6, 0), (6, 2)])
def test_what_is_saved_is_the_step_that_was_ending(trial_config, tmp_path, monkeypatch, step, workers):
    small = ("model.width=8", "model.dropout=0.2", "max_steps=20")
    overrides = (*small, f"data.in_memory={workers == 0}", f"data.num_workers={workers}")
    train(trial_config(*overrides, folder="twin"), verbose=False)
    config, folder = trial_config(*overrides), tmp_path / "run"
    send_at(monkeypatch, step, signal.SIGTERM)
    assert stop(config) == 143
    assert newest_commit(folder) == step + 1
    assert read_table(folder, STEPS)["step"].to_list() == list(range(step + 1))
    train(config, verbose=False)
    assert final_state(folder) == final_state(tmp_path / "twin")


def test_a_signal_in_the_last_step_is_too_late_to_stop_anything(trial_config, monkeypatch):
    send_at(monkeypatch, 9, signal.SIGTERM)
    assert train(trial_config("model.width=8"), verbose=False).status == "complete"


@pytest.mark.parametrize("step", [6, None])
def test_the_handlers_are_put_back(trial_config, monkeypatch, step):
    def mine(*_: Any) -> None: ...

    signal.signal(signal.SIGUSR1, mine)
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    during = send_at(monkeypatch, 6, signal.SIGTERM if step else 0)
    config = trial_config("model.width=8")
    assert stop(config) == 143 if step else train(config, verbose=False)
    assert {signum: signal.getsignal(signum) for signum in SIGNALS} == before
    assert during[signal.SIGUSR1] is mine
    assert during[signal.SIGTERM] != before[signal.SIGTERM]


def test_handlers_of_submitit_stay_and_serve(trial_config, monkeypatch):
    """Submitit requeues the job in its own; training must go on below it, whatever Lightning registers."""
    calls: list[int] = []

    def handler(signum: int, frame: object) -> None:
        calls.append(signum)

    for signum in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(signum, handler)
    during = send_at(monkeypatch, 6, signal.SIGUSR2)
    assert train(trial_config("model.width=8"), verbose=False).status == "complete"
    assert calls == [signal.SIGUSR2]
    for signum in (signal.SIGUSR2, signal.SIGTERM):
        assert during[signum] is handler
        assert signal.getsignal(signum) is handler


def test_only_the_first_signal_counts(capfd):
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert (interrupts.signum, interrupts.exit_code) == (signal.SIGTERM, 143)
        with pytest.raises(SystemExit) as end:  # somebody at the keyboard wants it to end now
            os.kill(os.getpid(), signal.SIGINT)
    assert end.value.code == 130
    assert capfd.readouterr().err == "SIGTERM: stopping at the end of this step\n"


def test_in_a_thread_a_trial_runs_without_handlers(trial_config):
    """Where joblib's or Ray's threads run trials, signals are somebody else's."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(train(trial_config("model.width=8"), verbose=False)))
    thread.start()
    thread.join()
    assert [result.status for result in results] == ["complete"]


# Slurm.


@pytest.fixture
def requeued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once somebody has asked Slurm to requeue the job that this seems to be."""
    path, programs = tmp_path / "requeued", tmp_path / "bin"
    programs.mkdir()
    (programs / "scontrol").write_text(f"#!/bin/sh\necho $@ >> {path}\n")
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    facts = {"JOB_ID": "7", "JOB_NAME": "trial", "NTASKS": "1", "NODELIST": "here", "PROCID": "0", "LOCALID": "0"}
    for name, value in (facts | {"NODEID": "0", "NNODES": "1", "NTASKS_PER_NODE": "1"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return path


class Plain(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore")
def test_plain_lightning_requeues_the_job_itself(tmp_path, requeued):
    class Send(Callback):
        def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
            if batch_idx == 6:
                os.kill(os.getpid(), signal.SIGUSR1)

    off = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_steps=10, default_root_dir=tmp_path, callbacks=[Send()], **off)
    trainer.fit(Plain(), DataLoader(torch.ones(100, 2)))
    assert requeued.read_text().split() == ["requeue", "7"]
    assert list(tmp_path.glob("hpc_ckpt_*.ckpt"))  # saved by the signal's handler, in the middle of a step


def test_inside_slurm_a_signal_only_stops(trial_config, tmp_path, monkeypatch, requeued):
    send_at(monkeypatch, 6, signal.SIGUSR1)
    assert stop(trial_config("model.width=8")) == 143
    assert not requeued.exists()
    assert not list(tmp_path.rglob("hpc_ckpt_*"))
    assert newest_commit(tmp_path / "run") == 7


def test_a_handler_that_c_installed_is_left_alone(monkeypatch):
    """Python cannot tell what it is: `getsignal` gives None, which `signal` does not take back."""
    real = signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda signum: None if signum == signal.SIGUSR2 else real(signum))
    before = real(signal.SIGUSR2)
    with Interrupts():
        assert real(signal.SIGUSR2) == before
        assert real(signal.SIGUSR1) != before
    assert real(signal.SIGUSR1) == before
