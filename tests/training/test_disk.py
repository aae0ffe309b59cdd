"""When the disk gives up: one line, exit code 1, the last commit kept, and the same command goes on from there."""

from __future__ import annotations

import errno
import io
import os
import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import config_of
from run_state import final_state, snapshot

from playbook.cli import one_line_errors
from playbook.config import Config
from playbook.errors import InputError
from playbook.training import train
from playbook.training.checkpoints import step_of, verify
from playbook.training.loop import TrialLoop

TRIAL = ("model.width=8", "model.dropout=0.2", "lr=0.1", "keep_best=1")  # commits at 0, 5 and 10


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(config_of(folder, *TRIAL), verbose=False)
    return final_state(folder)


@pytest.fixture
def crash(capfd: pytest.CaptureFixture[str]) -> Callable[[Config], str]:
    """Trains as the command line does; the one line with which it ends, with exit code 1."""

    def run(config: Config) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end, one_line_errors():
            train(config, verbose=False)
        assert end.value.code == 1
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"error: output_dir={config.output_dir}: ")
        return lines[0]

    return run


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Something happens at the start of a step."""
    real = TrialLoop.on_train_batch_start

    def acting(module: TrialLoop, *arguments: Any) -> None:
        if module.step == step:
            act()
        real(module, *arguments)

    monkeypatch.setattr(TrialLoop, "on_train_batch_start", acting)


def newest_commit(folder: Path) -> int:
    return max(map(step_of, (folder / "checkpoints").glob("resume_*.ckpt")), default=-1)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.integration)])
def test_a_disk_that_is_full_at_any_moment(trial_config, tmp_path, uninterrupted, crash, every):
    """Every file is synced before it counts, so the disk is full at each sync of a trial in turn: those of the config,
    the tables, the checkpoints, their folders, and the result. The end of what was written is not there then.
    """
    num_syncs, real = [0], os.fsync

    def full_from(number: int | None) -> Callable[[int], None]:
        num_syncs[0] = 0

        def fsync(descriptor: int) -> None:
            num_syncs[0] += 1
            if number is None or num_syncs[0] <= number:
                return real(descriptor)
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                os.ftruncate(descriptor, max(0, status.st_size - 7))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return fsync

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full_from(None))
        train(trial_config(*TRIAL, folder="undisturbed"), verbose=False)
    total = num_syncs[0]
    assert total > 3 * 5  # three commits, each of tables and checkpoints
    for number in range(0, total, every):
        config, folder = trial_config(*TRIAL, folder=str(number)), tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", full_from(number))
            assert "No space left on device" in crash(config)
        for path in (folder / "checkpoints").glob("*.ckpt"):
            verify(path)
        assert train(config, verbose=False).status == "complete"
        assert final_state(folder) == uninterrupted, number


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["resume_00000005.ckpt", "resume_00000010.ckpt"])
def test_a_checkpoint_that_does_not_fit(trial_config, tmp_path, uninterrupted, crash, monkeypatch, name):
    """The write itself fails, in the middle of `torch.save`, which has an error of its own for that."""
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    temporary = folder / "checkpoints" / f"{name}.tmp"
    at_step(monkeypatch, step_of(Path(name)) - 1, lambda: temporary.symlink_to("/dev/full"))
    assert "No space left on device" in crash(config)
    assert newest_commit(folder) == step_of(Path(name)) - 5
    monkeypatch.undo()
    train(config, verbose=False)
    assert final_state(folder) == uninterrupted


@pytest.mark.parametrize("gone", [".", "checkpoints"])
def test_a_folder_that_is_deleted_in_between(trial_config, tmp_path, uninterrupted, crash, monkeypatch, gone):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    at_step(monkeypatch, 7, lambda: shutil.rmtree(folder / gone))
    assert "No such file or directory" in crash(config)
    monkeypatch.undo()
    if gone == ".":
        assert not folder.exists()  # nothing makes a half a run in its place
    train(config, verbose=False)
    assert final_state(folder) == uninterrupted


def test_a_file_in_place_of_the_folder_above(trial_config, tmp_path):
    """Bad input, since nothing was begun that could go on."""
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(InputError, match=f"output_dir=.*{tmp_path / 'outputs'} is a file; name a folder"):
        train(trial_config(*TRIAL, folder="outputs/runs/a"), verbose=False)
    assert (tmp_path / "outputs").read_text() == "a file"


def refuse_writing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """As on a file system that is mounted read-only: permissions do not stop the super-user."""

    def within(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and Path(path).absolute().is_relative_to(folder)

    def read_only(path: Any) -> OSError:
        return OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    real_open, real_mkdir, real_unlink = io.open, os.mkdir, os.unlink

    def open_(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if within(path) and set(mode) & set("wax+"):
            raise read_only(path)
        return real_open(path, mode, *arguments, **named)

    def mkdir(path: Any, *arguments: Any, **named: Any) -> None:
        if within(path) and not Path(path).exists():
            raise read_only(path)
        real_mkdir(path, *arguments, **named)

    def unlink(path: Any, *arguments: Any, **named: Any) -> None:
        if within(path):
            raise read_only(path)
        real_unlink(path, *arguments, **named)

    monkeypatch.setattr(io, "open", open_)
    monkeypatch.setattr(os, "mkdir", mkdir)
    monkeypatch.setattr(os, "unlink", unlink)


def test_a_read_only_place(trial_config, tmp_path, crash, monkeypatch):
    refuse_writing(monkeypatch, tmp_path)
    assert "Read-only file system" in crash(trial_config(*TRIAL))
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_a_place_that_has_become_read_only(trial_config, tmp_path, uninterrupted, crash, monkeypatch):
    config, folder = trial_config(*TRIAL), tmp_path / "run"
    at_step(monkeypatch, 7, lambda: refuse_writing(monkeypatch, folder))
    assert "Read-only file system" in crash(config)
    before = snapshot(folder)
    assert "Read-only file system" in crash(config)
    assert snapshot(folder) == before
    assert newest_commit(folder) == 5
    monkeypatch.undo()
    train(config, verbose=False)
    assert final_state(folder) == uninterrupted


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop the super-user")
def test_a_folder_without_permission(trial_config, tmp_path, crash):
    tmp_path.chmod(0o500)
    assert "Permission denied" in crash(trial_config(*TRIAL))
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_an_error_elsewhere_is_a_traceback(trial_config, monkeypatch):
    """Only what concerns the run's folder is told as a matter of its disk."""

    def broken() -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/proc/of-somebody-else")

    at_step(monkeypatch, 7, broken)
    with pytest.raises(FileNotFoundError):
        train(trial_config(*TRIAL), verbose=False)


def test_a_limit_of_the_size_of_files(trial_config, uninterrupted, tmp_path, crash):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        line = crash(trial_config(*TRIAL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large; the last commit is kept" in line
    train(trial_config(*TRIAL), verbose=False)
    assert final_state(tmp_path / "run") == uninterrupted
