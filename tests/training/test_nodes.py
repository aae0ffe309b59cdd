"""A trial on two machines, played by two commands on this one: each starts its own ranks, and the first alone writes.

Both are threads of this process, each with a `Launch` of its own, which start their ranks from a server that has
imported everything.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable

import pytest
import torch
from run_state import final_state

import playbook
from playbook.config import TrainerConfig
from playbook.errors import CrashError, InputError
from playbook.lock import locked
from playbook.training import commands, distributed, train, trial
from playbook.training.distributed import Rank
from playbook.training.nodes import launch_of

TRIAL = ("trainer=ddp", "model.width=16", "max_steps=6", "eval_every=3", "keep_best=9", "lr=0.1")
NODES = (*TRIAL, "trainer.num_nodes=2", "trainer.num_devices=1")


def settings(num_nodes: int, num_devices: int) -> TrainerConfig:
    return TrainerConfig(device="cpu", precision="32-true", num_threads=1, num_nodes=num_nodes, num_devices=num_devices)


BY_HAND = {"MASTER_ADDR": "a1", "MASTER_PORT": "4000"}
SLURM = {"SLURM_NTASKS": "2", "SLURM_LOCALID": "0", "SLURM_JOB_NODELIST": "gpu[07-09,12]", "SLURM_JOB_ID": "123456"}


@pytest.mark.parametrize(
    ("environ", "ranks", "address"),
    [
        (BY_HAND | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, [(2, 0), (3, 1)], ("a1", 4000)),
        (BY_HAND | {"NODE_RANK": "1"}, [(2, 0), (3, 1)], ("a1", 4000)),
        (BY_HAND | {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, [(3, 1)], ("a1", 4000)),
        (SLURM | {"SLURM_PROCID": "0"}, [(0, 0), (1, 1)], ("gpu07", 23456)),
        (SLURM | {"SLURM_PROCID": "1", "MASTER_PORT": "7"}, [(2, 0), (3, 1)], ("gpu07", 7)),
        (SLURM | {"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, [(2, 0)], ("gpu07", 23456)),
    ],
)
def test_each_command_knows_its_ranks(environ, ranks, address):
    """One a node starts all of its ranks, one a device a single one; no two start the same."""
    launch = launch_of(settings(2, 2), environ)
    assert launch.ranks == tuple(Rank(index, 4, local, 2) for index, local in ranks)
    assert (launch.address, launch.port) == address
    assert launch.is_first == (ranks[0][0] == 0)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "start the same command on every node by srun, or by torchrun --nnodes=2"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
        (BY_HAND | {"RANK": "one", "WORLD_SIZE": "2"}, "invalid literal"),
        (BY_HAND | {"RANK": "0", "WORLD_SIZE": "3"}, r"command 0 of 3; start one a node \(2\) or one a device \(4\)"),
    ],
)
def test_what_says_too_little_of_the_nodes_is_refused(environ, said):
    with pytest.raises(InputError, match=rf"^trainer\.num_nodes=2: .*{said}"):
        launch_of(settings(2, 2), environ)


def test_on_one_machine_the_environment_does_not_matter():
    launch = launch_of(settings(1, 2), BY_HAND | {"RANK": "1", "WORLD_SIZE": "2"})
    assert launch.ranks == (Rank(0, 2, 0, 2), Rank(1, 2, 1, 2))
    assert launch.address == "127.0.0.1"


def this_command() -> str:
    """The number of the command whose thread calls."""
    return threading.current_thread().name


@pytest.fixture
def place() -> dict[str, str]:
    """What the environment says of two commands on this machine, but for which of them one is."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


@pytest.fixture
def both_commands(monkeypatch, place) -> Callable[..., list[object]]:
    """Runs the trial of a config as two commands would; what each returned or raised."""
    multiprocessing.set_forkserver_preload(["playbook.training", "playbook.data", "playbook.models", "playbook.optim"])
    start = distributed.start_processes
    started: dict[str, int] = {}

    def quick(*arguments, **named):
        context = start(*arguments, **named | {"start_method": "forkserver"})
        started[this_command()] = context.processes[0].pid
        return context

    monkeypatch.setattr(distributed, "start_processes", quick)
    monkeypatch.setattr(trial, "launch_of", lambda given: launch_of(given, place | {"RANK": this_command()}))

    one_at_a_time = threading.Lock()  # ast.parse of Python 3.11 fails in two threads at once

    def alone(function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments, **named):
            with one_at_a_time:
                return function(*arguments, **named)

        return called

    for name in ("build", "code_of"):
        monkeypatch.setattr(trial, name, alone(getattr(trial, name)))

    def run(config, meanwhile: Callable[[dict[str, int]], None] = lambda _: None) -> list[object]:
        ended: list[object] = [None, None]

        def command(index: int) -> None:
            try:
                ended[index] = train(config, verbose=False)
            except BaseException as error:
                ended[index] = error

        threads = [threading.Thread(target=command, args=(index,), name=str(index)) for index in (0, 1)]
        for thread in threads:
            thread.start()
        meanwhile(started)
        for thread in threads:
            thread.join(timeout=240)
            assert not thread.is_alive(), "it waits for what does not come"
        return ended

    return run


@pytest.mark.integration
def test_two_nodes_train_what_two_devices_of_one_do(both_commands, trial_config, tmp_path):
    one, two = trial_config(*TRIAL, "trainer.num_devices=2", folder="one"), trial_config(*NODES, folder="two")
    results = both_commands(two)
    assert not [error for error in results if isinstance(error, BaseException)]
    assert results[0] == results[1]
    assert results[0].environment["world_size"] == 2
    train(one, verbose=False)
    there, here = final_state(tmp_path / "two"), final_state(tmp_path / "one")
    assert there.keys() == here.keys()
    for name in ("steps.csv", "evals.csv", "predictions.csv"):
        assert there[name] == here[name]
    single = trial_config(*TRIAL[1:], folder="single")
    train(single, verbose=False)
    mean = playbook.load_run(tmp_path / "single").steps["loss"].to_list()
    assert playbook.load_run(tmp_path / "two").steps["loss"].to_list() == pytest.approx(mean, rel=1e-5)


def test_a_rank_that_is_killed_on_one_node_ends_both(both_commands, trial_config, tmp_path):
    config = trial_config(*NODES, "max_steps=100000", "eval_every=50")

    def kill_one(started: dict[str, int]) -> None:
        deadline = time.monotonic() + 120
        while len(started) < 2 or not list((tmp_path / "run" / "checkpoints").glob("resume_*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(started["1"], signal.SIGKILL)

    said = sorted(str(error) for error in both_commands(config, kill_one) if isinstance(error, CrashError))
    assert len(said) == 2
    assert any("was ended by SIGKILL; the last commit is kept" in line for line in said)
    assert any("a rank elsewhere has ended, and what started it says why; the last commit" in line for line in said)
    assert not any("\n" in line for line in said)
    assert torch.multiprocessing.active_children() == []


@pytest.mark.parametrize("number", ["0", pytest.param("1", marks=pytest.mark.integration)])
def test_a_rank_that_dies_before_the_ranks_have_met_ends_both(both_commands, trial_config, monkeypatch, number):
    """Out of memory while it is built, for one: the others would wait for it for half an hour."""
    monkeypatch.setattr(distributed, "GRACE_SECONDS", 1.0)

    def kill_it(started: dict[str, int]) -> None:
        while number not in started:
            time.sleep(0.01)
        os.kill(started[number], signal.SIGKILL)

    ended = both_commands(trial_config(*NODES), kill_it)
    assert all(isinstance(error, CrashError) for error in ended)
    assert f"rank {number} was ended by SIGKILL" in str(ended[int(number)])
    assert "a rank elsewhere has ended, and what started it says why" in str(ended[1 - int(number)])
    assert torch.multiprocessing.active_children() == []


def test_what_the_first_command_refuses_ends_the_other(both_commands, trial_config, tmp_path):
    """It alone has the folder; the ranks of the other one would wait for those that it does not start."""
    with locked(tmp_path / "run", ""):
        first, other = both_commands(trial_config(*NODES))
    assert isinstance(first, InputError)
    assert isinstance(other, InputError)
    assert str(first).endswith("another process is training into this folder")
    assert str(other) == f"command 0 of 2: {first}"
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("data.root=here: there is no such folder"), "data.root=here: there is no such folder"),
        (ValueError("a bug\nof two lines"), "it ended before its ranks began"),
    ],
)
def test_what_another_command_refuses_ends_the_first(both_commands, trial_config, monkeypatch, error, said):
    build = trial.build

    def without_its_data(*arguments, **named):
        if this_command() == "1":
            raise error
        return build(*arguments, **named)

    monkeypatch.setattr(trial, "build", without_its_data)
    first, other = both_commands(trial_config(*NODES))
    assert other is error
    assert isinstance(first, InputError if isinstance(error, InputError) else CrashError)
    assert f"command 1 of 2: {said}" in str(first)


def test_a_command_whose_first_does_not_come_ends_with_one_line(trial_config, tmp_path, monkeypatch, place):
    monkeypatch.setattr(commands, "FIRST_COMES_SECONDS", 0.2)
    monkeypatch.setattr(commands, "AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(trial, "launch_of", lambda given: launch_of(given, place | {"RANK": "1"}))
    with pytest.raises(CrashError, match=f"nobody answers at 127.0.0.1:{place['MASTER_PORT']}, where the first"):
        train(trial_config(*NODES), verbose=False)
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken_is_said_by_the_first_command(trial_config, tmp_path, monkeypatch, place):
    """Its ranks found out, each other's waited at whoever has the port."""
    monkeypatch.setattr(trial, "launch_of", lambda given: launch_of(given, place | {"RANK": "0"}))
    taken = pytest.raises(InputError, match=rf"MASTER_PORT={place['MASTER_PORT']}: .* set both to a free port")
    with socket.create_server(("127.0.0.1", int(place["MASTER_PORT"]))), taken:
        train(trial_config(*NODES), verbose=False)
    assert not (tmp_path / "run").exists()


def test_sharding_is_refused_with_what_to_use():
    with pytest.raises(InputError, match=r"^trainer=fsdp: a model is not sharded .*: use trainer=ddp, .*bf16-true"):
        playbook.compose("trainer=fsdp")
