"""A run goes on only where it was begun, as far as that decides its numbers: torch, threads, device, processes (D6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from run_state import final_state, kill, kill_at, snapshot

from playbook.cli import one_line_errors
from playbook.errors import CrashError, InputError
from playbook.training import device as device_of_a_trial
from playbook.training import train, trial
from playbook.training.code_hash import code_of
from playbook.training.data import load_data
from playbook.training.distributed import Rank

TRIAL = ("model.width=8", "model.dropout=0.2", "lr=0.1")
ELSEWHERE = [
    ("torch", "1.13.1", f"torch: {torch.__version__} there, 1.13.1 here"),
    ("lightning", "1.9.0", "there, 1.9.0 here"),
    ("device", "NVIDIA H100", "device: cpu there, NVIDIA H100 here"),
    ("num_threads", 64, "num_threads: 1 there, 64 here"),
    ("world_size", 2, "world_size: 1 there, 2 here"),
]


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def move(monkeypatch: pytest.MonkeyPatch, **facts: object) -> None:
    """From now on the trial finds itself somewhere else."""
    monkeypatch.setattr(trial, "environment", lambda device, rank: device_of_a_trial.environment(device, rank) | facts)


def but_for_the_place(folder: Path) -> Any:
    """The final state of a run without the record of where it ended: here only the name of the place had changed."""

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: strip(inner) for key, inner in value.items() if key != "environment"}
        return value

    return strip(final_state(folder))


@pytest.mark.parametrize(("fact", "value", "line"), ELSEWHERE, ids=[fact for fact, *_ in ELSEWHERE])
def test_elsewhere_a_run_is_refused_and_left_alone(trial_config, tmp_path, monkeypatch, capfd, fact, value, line):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    kill_at(config, 7)
    (folder / "checkpoints" / "resume_00000010.ckpt.tmp").write_bytes(b"half")  # also what a crash has left
    before = snapshot(folder)
    move(monkeypatch, **{fact: value})
    capfd.readouterr()
    with pytest.raises(SystemExit) as end, one_line_errors():
        train(config, verbose=False)
    assert end.value.code == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert said.startswith(f"error: output_dir={folder} was begun elsewhere (")
    assert line in said
    assert "resume=force" in said
    assert snapshot(folder) == before


def test_every_difference_is_named(trial_config, monkeypatch):
    config = trial_config(*TRIAL)
    kill_at(config, 7)
    move(monkeypatch, **{fact: value for fact, value, _ in ELSEWHERE})
    with pytest.raises(InputError) as error:
        train(config, verbose=False)
    assert all(line in str(error.value) for *_, line in ELSEWHERE)


def test_force_goes_on_all_the_same(trial_config, tmp_path, monkeypatch):
    train(trial_config(*TRIAL, folder="undisturbed"), verbose=False)
    kill_at(trial_config(*TRIAL), 7)
    move(monkeypatch, torch="1.13.1")
    assert train(trial_config(*TRIAL, "resume=force"), verbose=False).status == "complete"
    assert but_for_the_place(tmp_path / "run") == but_for_the_place(tmp_path / "undisturbed")


@pytest.mark.usefixtures("_threads")
def test_another_number_of_threads_is_another_place(trial_config, tmp_path, monkeypatch):
    """For real: `auto` takes what there is, and what there is changes between the two."""
    config = trial_config(*TRIAL, "trainer.num_threads=auto")
    monkeypatch.setattr(device_of_a_trial, "_AUTO_THREADS", 1)
    kill_at(config, 7)
    monkeypatch.setattr(device_of_a_trial, "_AUTO_THREADS", 2)
    with pytest.raises(InputError, match="num_threads: 1 there, 2 here"):
        train(config, verbose=False)
    train(trial_config(*TRIAL, "trainer.num_threads=auto", "resume=force"), verbose=False)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["environment"]["num_threads"] == 2


@pytest.mark.parametrize("override", ["trainer.num_threads=2", "trainer.num_devices=2", "trainer.precision=64-true"])
@pytest.mark.usefixtures("_threads")
def test_a_trainer_that_is_told_otherwise_is_another_trial(trial_config, tmp_path, override):
    kill_at(trial_config(*TRIAL), 7)
    before, key = snapshot(tmp_path / "run"), override.partition("=")[0]
    with pytest.raises(InputError, match=f"holds a run of another config .*{key}"):
        train(trial_config(*TRIAL, override, "resume=force"), verbose=False)
    assert snapshot(tmp_path / "run") == before


def test_what_is_finished_can_be_read_anywhere(trial_config, tmp_path, monkeypatch):
    result = train(trial_config(*TRIAL), verbose=False)
    move(monkeypatch, torch="1.13.1", device="NVIDIA H100")
    assert train(trial_config(*TRIAL), verbose=False) == result


def test_before_its_first_commit_a_run_is_of_no_place(trial_config, tmp_path, monkeypatch):
    train(trial_config(*TRIAL, folder="undisturbed"), verbose=False)
    config = trial_config(*TRIAL)
    kill(config, trial.TrialLoop, "run")
    move(monkeypatch, torch="1.13.1")
    train(config, verbose=False)
    assert but_for_the_place(tmp_path / "run") == but_for_the_place(tmp_path / "undisturbed")


def test_the_environment_is_recorded_as_it_is(trial_config, tmp_path):
    config = trial_config(*TRIAL)
    result = train(config, verbose=False)
    here = device_of_a_trial.environment(torch.device("cpu"), Rank()) | code_of(config)
    assert result.environment == here | {"data": load_data(config.data).fingerprint}
    assert result.environment["torch"] == torch.__version__
    assert (result.environment["num_threads"], result.environment["world_size"]) == (1, 1)
    assert Path(tmp_path / "run" / "result.json").exists()


@pytest.fixture
def cuda(monkeypatch) -> list[str]:
    """A machine with two devices, on which this process has not begun; what it does on them itself."""
    used: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: bool(used))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: used.append(str(device)) or "NVIDIA H200")
    device_of_a_trial._cuda_name_from_elsewhere.cache_clear()
    yield used
    device_of_a_trial._cuda_name_from_elsewhere.cache_clear()


def test_who_starts_the_ranks_begins_nothing_on_a_device(cuda, monkeypatch):
    asked: list[list[str]] = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="NVIDIA H200\n", stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    device, rank = torch.device("cuda", 1), Rank(1, 2, 1, 2)
    parent, again = (device_of_a_trial.environment(device, rank) for _ in range(2))
    assert (cuda, len(asked)) == ([], 1)
    assert "cuda:1" in asked[0][-1]
    cuda.append("the weights")  # as in the rank itself
    assert parent == again == device_of_a_trial.environment(device, rank)
    assert (cuda[1:], len(asked)) == (["cuda:1"], 1)


def test_a_device_that_does_not_say_its_name_is_one_line(cuda, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="Traceback:\nRuntimeError: CUDA driver error")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(CrashError, match=r"^cuda:0 does not say its name: .*RuntimeError: CUDA driver error$"):
        device_of_a_trial.environment(torch.device("cuda", 0), Rank(0, 2, 0, 2))
    assert cuda == []
