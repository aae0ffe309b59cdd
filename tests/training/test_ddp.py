"""Data-parallel ranks: the numbers are those of one process, and nothing that dies leaves anything behind (D5, D6).

What only a process of its own can show runs as `python train.py …`. Where a rank or its parent dies, the ranks are
new interpreters, as users have them. Elsewhere they are forks of the command, or come from a server that has imported
everything: half a second a trial instead of ten.
"""

from __future__ import annotations

import fcntl
import functools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import warm
from conftest import config_of
from run_state import final_state

import playbook
from playbook.data import StepLoader
from playbook.errors import InputError
from playbook.training import distributed, train, trial
from playbook.training.checkpoints import step_of

ROOT = Path(__file__).parents[2]
FORKED_RANKS = ROOT / "tests" / "forked_ranks_train.py"
VALIDATION_SIZES = (11, 64, 1797)
DDP = ("trainer=ddp", "trainer.num_devices=2", "trainer.num_threads=1", "trainer.device=cpu", "logger=none")
TRIAL = (
    *DDP,
    "batch_size=32",
    "model.width=64",
    "model.norm=batch",
    "model.dropout=0.1",
    "max_steps=600",
    "eval_every=50",
)
"""The trial that is killed and stopped."""


@pytest.fixture(autouse=True, scope="module")
def _quick_ranks() -> Iterator[None]:
    multiprocessing.set_forkserver_preload(["playbook.training", "playbook.data", "playbook.models", "playbook.optim"])
    with pytest.MonkeyPatch.context() as patch:
        quick = functools.partial(distributed.start_processes, start_method="forkserver")
        patch.setattr(distributed, "start_processes", lambda *a, **k: quick(*a, **{**k, "start_method": "forkserver"}))
        yield


@dataclass(frozen=True)
class Pair:
    """The same trial, in two processes and in one."""

    two: playbook.Run
    one: playbook.Run


def write_arrays(path: Path, num_validation: int) -> None:
    """Three classes that can be told apart, none without an example."""
    random = np.random.default_rng(num_validation)

    def some(count: int) -> tuple[Any, Any]:
        targets = np.arange(count) % 3
        return random.normal(size=(count, 6)).astype(np.float32) + targets[:, None], targets

    (inputs, targets), (val_inputs, val_targets) = some(200), some(num_validation)
    np.savez(path, inputs=inputs, targets=targets, val_inputs=val_inputs, val_targets=val_targets)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Pair]:
    """A trial for each size of the validation split, with an evaluation after each of three steps."""
    folder, found = tmp_path_factory.mktemp("pairs"), {}
    for size in VALIDATION_SIZES:
        path = folder / f"{size}.npz"
        write_arrays(path, size)
        data = ("data=arrays", f"data.path={path}", "data.test_fraction=0", "model.width=16", "batch_size=32")
        runs = (
            "max_steps=3",
            "eval_every=1",
            "keep_best=9",
            "lr=0.1",
            f"model.norm={'batch' if size == 64 else 'none'}",
        )
        trials = []
        # Those of 11 train in micro-batches, 5 and 5 and 5 and 1 of the 16 examples of a rank.
        ranks = (*DDP, "trainer.micro_batch_size=5") if size == 11 else DDP
        for name, trainer in (("two", ranks), ("one", DDP[2:])):
            config = config_of(folder / f"{size}-{name}", *data, *runs, *trainer)
            train(config, verbose=False)
            assert config.output_dir is not None
            trials.append(playbook.load_run(config.output_dir))
        found[size] = Pair(*trials)
    return found


def metrics_at(run: playbook.Run, step: int) -> dict[str, float]:
    return dict(run.evals.filter(step=step).select("metric", "value").iter_rows())


@pytest.mark.parametrize("size", VALIDATION_SIZES)
def test_the_same_weights_get_the_same_metrics(pairs, size):
    """No example counts twice to make the shares equal, which moved an error of 4.6 to 5.0 elsewhere. Step 0 also shows
    that all begin with the weights of one process.
    """
    two, one = (metrics_at(run, 0) for run in (pairs[size].two, pairs[size].one))
    assert list(two) == list(one)
    assert two == pytest.approx(one, rel=1e-12, abs=1e-12)
    assert sum(value for name, value in two.items() if name.startswith("val/examples/")) == size
    assert [two["val/loss"], two["train/eval_loss"]] == [one["val/loss"], one["train/eval_loss"]]
    assert pairs[size].two.predictions.filter(step=0).equals(pairs[size].one.predictions.filter(step=0))
    values, of_one = (run.examples.at(0) for run in (pairs[size].two, pairs[size].one))
    assert values.tolist() == of_one.tolist()
    assert len(values) == size


def share(run: playbook.Run, step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of a rank at a step."""
    split = run.config.data.build().load("train")
    loader = StepLoader(split, batch_size=32, seed=0, num_steps=step + 1, start_step=step, rank=rank, world_size=2)
    ((inputs, targets),) = loader
    return inputs, targets


@pytest.mark.parametrize("size", VALIDATION_SIZES)
def test_a_row_is_the_mean_over_ranks_that_saw_different_examples(pairs, size):
    """By hand, from the kept weights of each step: the loss of each rank's own share, in training mode."""
    run = pairs[size].two
    assert run.steps["step"].to_list() == [0, 1, 2]
    for step, recorded in enumerate(run.steps["loss"]):
        losses = []
        for rank in (0, 1):
            inputs, targets = share(run, step, rank)
            outputs = run.model(step).model.train()(inputs)
            losses.append(torch.nn.functional.cross_entropy(outputs, targets).item())
        assert recorded == pytest.approx(sum(losses) / 2, rel=1e-5)
        assert losses[0] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("size", [11, 1797])  # those without batch norm, which looks at a rank's share
def test_two_ranks_take_the_steps_of_one_process(pairs, size):
    two, one = pairs[size].two.steps, pairs[size].one.steps
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["grad_norm"], one["grad_norm"], rtol=1e-5)
    assert two["lr"].equals(one["lr"])


def test_running_averages_are_the_mean_over_ranks(pairs):
    """What a step makes of batch norm's averages, on each rank from the weights of before; the mean is saved (D5) …"""
    run = pairs[64].two
    for step in (0, 1, 2):
        buffers = []
        for rank in (0, 1):
            model = run.model(step).model.train()
            model(share(run, step, rank)[0])
            buffers.append({name: b for name, b in model.named_buffers() if "running" in name})
        saved = dict(run.model(step + 1).model.named_buffers())
        assert buffers[0]
        for name, of_first in buffers[0].items():
            of_second = buffers[1][name]
            torch.testing.assert_close(saved[name], (of_first + of_second) / 2, rtol=1e-5, atol=1e-6)
            assert not torch.allclose(of_first, of_second, rtol=1e-3)


def test_the_evaluation_is_of_the_weights_that_are_saved(pairs):
    """… and it is what the evaluation used."""
    run = pairs[64].two
    validation = run.config.data.build().load("val")
    for step in range(4):
        with torch.no_grad():
            probabilities = run.model(step)(validation.inputs).double()
        loss = -probabilities[torch.arange(64), validation.targets].log().mean().item()
        error = (probabilities.argmax(-1) != validation.targets).double().mean().item()
        assert metrics_at(run, step)["val/loss"] == pytest.approx(loss, rel=1e-5)
        assert metrics_at(run, step)["val/error"] == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("size", VALIDATION_SIZES)
def test_one_rank_writes(pairs, size):
    """The same files as one process makes, and the same number of rows."""
    two, one = pairs[size].two, pairs[size].one
    assert sorted(final_state(two.path)) == sorted(final_state(one.path))
    for table in ("steps", "evals", "predictions"):
        assert getattr(two, table).shape == getattr(one, table).shape
    assert two.result.environment["world_size"] == 2


def test_a_batch_that_cannot_be_shared_is_refused(trial_config, tmp_path):
    with pytest.raises(InputError, match=r"^batch_size=33: it is shared equally by trainer.num_devices=2"):
        train(trial_config(*DDP, "batch_size=33"), verbose=False)
    assert list(tmp_path.iterdir()) == []


# Death.


@dataclass(frozen=True)
class Death:
    """How a command ended: its code, its lines, the last commit, and the processes that it left."""

    code: int
    err: list[str]
    newest: int
    left: list[int]


def newest_commit(folder: Path) -> int:
    return max(map(step_of, (folder / "checkpoints").glob("resume_*.ckpt")), default=-1)


def of_session(session: int) -> dict[int, list[str]]:
    """The living processes that a command has started: those of its session, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            state, *rest = (entry / "stat").read_text().rpartition(")")[2].split()
            if entry.name.isdigit() and int(rest[2]) == session and state != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
        except (OSError, ValueError):
            continue
    return found


def ranks_of(session: int) -> list[int]:
    """Those of them that train."""
    return sorted(pid for pid, words in of_session(session).items() if any("spawn_main" in word for word in words))


def is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def disturb(folder: Path, act: Callable[[int], object], script: Path = ROOT / "train.py") -> Death:
    """`python train.py …` in a session of its own; once it has committed something more, `act` on its process id."""
    before = newest_commit(folder)
    with warm.start(script, *TRIAL, f"output_dir={folder}", folder=folder.parent) as process:
        try:
            until(lambda: newest_commit(folder) > before or process.poll() is not None)
            act(process.pid)
            lines = process.communicate(timeout=60)[1].splitlines()
            err = [line for line in lines if not line.startswith("step ")]  # those of a slow machine's progress
            # Python's own helpers for shared resources end when their pipe does, a moment later.
            until(lambda: not of_session(process.pid), 60)
            return Death(process.wait(), err, newest_commit(folder), list(of_session(process.pid)))
        finally:
            for pid in of_session(process.pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Death]]:
    """One trial that is stopped by SIGTERM, loses a rank, is interrupted from the keyboard, loses its first process,
    and comes to its end.
    """
    folder, found, locked = tmp_path_factory.mktemp("deaths") / "run", {}, []

    def kill_the_parent(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        if ranks_of(pid):
            locked.append(is_locked(folder) or not ranks_of(pid))

    found["SIGTERM"] = disturb(folder, lambda pid: os.kill(pid, signal.SIGTERM), FORKED_RANKS)
    found["a rank"] = disturb(folder, lambda pid: os.kill(ranks_of(pid)[1], signal.SIGKILL))
    # A terminal sends it to all of them.
    found["Ctrl-C"] = disturb(folder, lambda pid: os.killpg(pid, signal.SIGINT), FORKED_RANKS)
    found["the parent"] = disturb(folder, kill_the_parent)
    assert all(locked)
    assert not is_locked(folder)
    train(config_of(folder, *TRIAL), verbose=False)
    return folder, found


@pytest.mark.integration
def test_sigterm_stops_all_ranks(deaths):
    end = deaths[1]["SIGTERM"]
    assert end.code == 143, end.err
    assert f"stopped; saved at step {end.newest} of 600: the same command goes on from there" in end.err


@pytest.mark.integration
def test_ctrl_c_stops_all_ranks(deaths):
    """It reaches every rank from the terminal and from the parent, and must not count as two."""
    end = deaths[1]["Ctrl-C"]
    assert end.code == 130, end.err
    assert end.err[0] == "SIGINT: stopping at the end of this step"
    assert f"stopped; saved at step {end.newest} of 600: the same command goes on from there" in end.err


@pytest.mark.integration
def test_a_killed_rank_ends_the_trial_with_one_line(deaths):
    folder, found = deaths
    end = found["a rank"]
    assert end.code == 1, end.err
    said = [line for line in end.err if line.startswith("error: ")]
    assert said == [
        f"error: output_dir={folder}: rank 1 was ended by SIGKILL;"
        " the last commit is kept, and the same command (without overwrite=true) goes on from there"
    ]
    assert end.err == said, "\n".join(end.err)


@pytest.mark.integration
def test_without_their_parent_the_ranks_end(deaths):
    end = deaths[1]["the parent"]
    assert end.code == -signal.SIGKILL
    assert end.left == []


@pytest.mark.integration
def test_each_went_on_from_the_one_before_and_all_ends_as_if_undisturbed(deaths, tmp_path):
    folder, found = deaths
    commits = [death.newest for death in found.values()]
    assert commits == sorted(commits)
    assert commits[0] < commits[-1] < 600
    train(config_of(tmp_path / "undisturbed", *TRIAL), verbose=False)
    assert final_state(folder) == final_state(tmp_path / "undisturbed")


def test_the_process_that_starts_the_ranks_checks_on_the_cpu(trial_config, monkeypatch):
    """Data on a device would stay in its memory while the ranks train there."""
    devices = []
    real = trial.build

    def noted(config, rank, device, **rest):
        devices.append(device)
        return real(config, rank, device, **rest)

    monkeypatch.setattr(trial, "build", noted)
    monkeypatch.setattr(trial, "choose_device", lambda *_: torch.device("meta"))
    monkeypatch.setattr(trial, "environment", lambda *_: {})
    monkeypatch.setattr(trial, "run_ranks", lambda *_, **__: 1)
    with pytest.raises(SystemExit):
        train(trial_config(*DDP, "batch_size=32"), verbose=False)
    assert devices == [torch.device("cpu")]
