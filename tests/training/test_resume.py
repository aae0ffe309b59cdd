"""The folder of a run: the same command finds it again, another is refused, and nothing of the user's is touched."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from playbook.errors import InputError
from playbook.lock import locked
from playbook.loggers.base import RunLogger
from playbook.training import train

RUN = ("model.width=8",)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file's bytes and time of change."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(config, *parts: str) -> None:
    """`train` refuses with one line that has all of `parts`."""
    with pytest.raises(InputError) as error:
        train(config, verbose=False)
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_the_same_command_again_trains_nothing(trial_config, tmp_path, capsys):
    first = train(trial_config(*RUN), verbose=False)
    before = snapshot(tmp_path / "run")
    again = train(trial_config(*RUN))
    assert again == first
    assert snapshot(tmp_path / "run") == before
    said = capsys.readouterr().out
    assert "complete" in said
    assert f"{first.objective:.4g} ± {first.objective_se:.2g} at step {first.best_step}" in said


def test_a_finished_run_of_another_config_is_refused_with_the_difference(trial_config, tmp_path):
    train(trial_config(*RUN, "lr=0.1"), verbose=False)
    before = snapshot(tmp_path / "run")
    refused(
        trial_config("model.width=9", "lr=0.2"),
        "lr: 0.1 there, 0.2 here",
        "model.width: 8 there, 9 here",
        "overwrite=true",
    )
    assert snapshot(tmp_path / "run") == before


def test_overwrite_starts_afresh_and_keeps_what_is_not_the_runs(trial_config, run_trial, tmp_path):
    run_trial(*RUN, "lr=0.1", "keep_best=3")
    folder = tmp_path / "run"
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoints" / "exported.onnx").write_text("mine too")
    (folder / "figures").mkdir()
    (folder / "figures" / "loss.svg").write_text("and mine")
    again = run_trial(*RUN, "lr=0.2", "max_steps=4", "overwrite=true")
    fresh = run_trial(*RUN, "lr=0.2", "max_steps=4", folder="fresh")
    kept = {"notes.txt", "checkpoints/exported.onnx", "figures/loss.svg"}
    assert set(snapshot(folder)) == set(snapshot(fresh.path)) | kept
    assert (folder / "notes.txt").read_text() == "mine"
    assert again.steps.drop("data_seconds", "step_seconds").equals(fresh.steps.drop("data_seconds", "step_seconds"))
    assert again.evals.equals(fresh.evals)
    assert again.config.lr == 0.2


def test_overwrite_repeats_a_finished_trial_of_the_same_config(trial_config, tmp_path):
    train(trial_config(*RUN), verbose=False)
    before = snapshot(tmp_path / "run")
    train(trial_config(*RUN, "overwrite=true"), verbose=False)
    after = snapshot(tmp_path / "run")
    assert set(after) == set(before)
    assert after["result.json"][1] > before["result.json"][1]
    assert after["evals.csv"][0] == before["evals.csv"][0]


@pytest.mark.parametrize("overwrite", ["true", "false"])
def test_a_folder_of_something_else_is_refused(trial_config, tmp_path, overwrite):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    before = snapshot(tmp_path)
    refused(trial_config(*RUN, f"overwrite={overwrite}"), f"output_dir={tmp_path / 'run'}", "is not a run's")
    assert snapshot(tmp_path) == before


def test_a_file_is_refused(trial_config, tmp_path):
    (tmp_path / "run").write_text("a file")
    refused(trial_config(*RUN), "is a file")


def test_an_empty_folder_is_taken(run_trial, tmp_path):
    (tmp_path / "run").mkdir()
    assert run_trial(*RUN).result.status == "complete"


def test_two_processes_do_not_share_a_folder(trial_config, run_trial, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    script = (
        "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); "
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        try:
            refused(trial_config(*RUN), f"output_dir={folder}", "another process is training into this folder")
            assert list(folder.iterdir()) == []
        finally:
            other.kill()  # and a dead process does not keep the lock
    assert run_trial(*RUN).result.status == "complete"


def test_the_folder_is_held_while_a_trial_trains(run_trial, tmp_path, monkeypatch):
    def can_be_locked() -> bool:
        descriptor = os.open(tmp_path / "run", os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(descriptor)

    seen = []
    monkeypatch.setattr(RunLogger, "log_evaluation", lambda *_: seen.append(can_be_locked()))
    run_trial(*RUN)
    assert seen == [False] * 3
    assert can_be_locked()


def test_where_a_folder_cannot_be_locked_a_file_in_it_is(run_trial, tmp_path, monkeypatch):
    """NFS locks only what is open for writing."""
    real = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert run_trial(*RUN).result.status == "complete"
    assert (tmp_path / "run" / ".lock").exists()
    with (
        locked(tmp_path / "held", "free"),
        pytest.raises(InputError, match="taken"),
        locked(tmp_path / "held", "taken"),
    ):
        pass
    assert run_trial(*RUN, folder="held").result.status == "complete"  # a folder with nothing but its lock is new


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("objective.metric=val/eror",), "objective.metric=val/eror: this task has val/error"),
        (("task=regression",), "the data has class labels"),
        (("data=diabetes",), "the data has real-valued targets"),
        (("schedule=linear", "schedule.decay_steps=11"), "schedule.decay_steps=11 is more than max_steps=10"),
        (("data=arrays", "data.path=missing.npz"), "there is no file missing.npz"),
        (("model.norm_placement=post",), "model.norm_placement=post needs model.residual=true"),
        (("data.val_fraction=0.9", "data.test_fraction=0.1"), "leave no example"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_folder_is_made(trial_config, tmp_path, overrides, message):
    refused(trial_config(*overrides), message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "overrides",
    [
        ("max_steps=1e1", "eval_every=5.0"),
        ("lr=5e-2",),
        ("model.dropout=0",),
        ("optimizer.momentum=9e-1", "clip_norm=null"),
        ("logger=wandb", "logger.project=other"),
        ("output_root=elsewhere",),
        ("data.root=/somewhere", "data.download=true"),
        ("resume=force",),
        ("overwrite=true",),
    ],
    ids=" ".join,
)
def test_spelling_places_and_mirrors_do_not_make_another_trial(trial_config, overrides):
    assert trial_config(*overrides).fingerprint() == trial_config().fingerprint()


@pytest.mark.parametrize(
    "override",
    ["seed=1", "max_steps=11", "lr=0.04", "clip_norm=1", "keep_best=2", "data.split_seed=1", "model.width=129"],
)
def test_what_is_computed_makes_another_trial(trial_config, override):
    assert trial_config(override).fingerprint() != trial_config().fingerprint()


def test_a_trial_reads_its_config_back(run_trial, trial_config):
    run = run_trial("model.width=8", "clip_norm=1", "task.label_smoothing=0.1", "lr=1e-2")
    assert (
        run.config.identity()
        == trial_config("model.width=8", "clip_norm=1", "task.label_smoothing=0.1", "lr=1e-2").identity()
    )
    assert run.config.max_steps == 10
