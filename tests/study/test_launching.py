"""The launchers' waiting: every job has an end, whatever becomes of its process, and none runs on unseen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from joblib import cpu_count, delayed
from submitit.core.utils import UncompletedJobError

from hydra_plugins.quasi_random_sweeper._launchers import _launch
from hydra_plugins.quasi_random_sweeper._launchers._joblib import Workers
from hydra_plugins.quasi_random_sweeper._launchers._launch import Parallelism, launch, parallelism
from hydra_plugins.quasi_random_sweeper._launchers._slurm import QueueWatcher, awaited
from playbook.composition import compose_config


def end(number: int) -> JobReturn:
    return JobReturn(status=JobStatus.COMPLETED, _return_value=(number, os.getpid()))


def job(number: int) -> JobReturn:
    """Some end badly."""
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        sys.exit(143)
    if number == 3:
        raise ValueError("three")
    return end(number)


def gone(pid: int) -> bool:
    """Whether a process ends; one that does not within a minute will not."""
    for _ in range(600):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_workers_death_is_the_end_of_its_own_job():
    ends = Workers(n_jobs=2, backend="loky", verbose=0)(delayed(job)(number) for number in range(8))
    bad, good = ends[1:4], [ends[0], *ends[4:]]
    assert [each.status for each in bad] == [JobStatus.FAILED] * 3
    assert [type(each._return_value).__name__ for each in bad] == ["TerminatedWorkerError", "SystemExit", "ValueError"]
    assert [each._return_value[0] for each in good] == [0, 4, 5, 6, 7]
    assert all(gone(pid) for pid in {each._return_value[1] for each in good})


def test_workers_are_few_and_live_long():
    ends = Workers(n_jobs=2)(delayed(end)(number) for number in range(6))
    assert [each._return_value[0] for each in ends] == list(range(6))
    assert os.getpid() not in {each._return_value[1] for each in ends}
    assert len({each._return_value[1] for each in ends}) <= 2


@pytest.mark.parametrize(("own", "expected"), [(None, max(1, cpu_count() // 2)), ("7", 7)])
def test_workers_share_the_cpus_unless_told_otherwise(monkeypatch, own, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own:
        monkeypatch.setenv("OMP_NUM_THREADS", own)

    def threads(number: int) -> Any:
        return os.environ["OMP_NUM_THREADS"]

    assert Workers(n_jobs=2)(delayed(threads)(number) for number in range(2)) == [str(expected)] * 2


SWEEP = """
import os, signal, sys, time
import polars  # as in a sweep: its handler of SIGINT restarts a wait for a lock
from pathlib import Path
from joblib import delayed
from hydra_plugins.quasi_random_sweeper._launchers._joblib import Workers

folder = Path(sys.argv[1])

def job(number):
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    (folder / f"began_{number}").write_text(str(os.getpid()))
    while not asked:
        time.sleep(0.01)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (folder / f"saved_{number}").touch()
    sys.exit(143)

Workers(n_jobs=2)(delayed(job)(number) for number in range(4))
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_no_job_outlives_its_sweep(tmp_path, signum):
    """Ctrl-C, or a kernel that kills the sweep: trials that run stop, saved, and the others do not begin."""
    began = [tmp_path / "began_0", tmp_path / "began_1"]
    with subprocess.Popen([sys.executable, "-c", SWEEP, str(tmp_path)], stderr=subprocess.PIPE, text=True) as sweep:
        while not all(path.exists() and path.read_text() for path in began):
            assert sweep.poll() is None
            time.sleep(0.01)
        sweep.send_signal(signum)
        sweep.wait(timeout=60)
    assert sweep.returncode == -signum
    assert all(gone(int(path.read_text())) for path in began)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["began_0", "began_1", "saved_0", "saved_1"]


# Slurm.


class Queue:
    """A `squeue` that lists what it is told to."""

    def __init__(self, folder: Path) -> None:
        self._listing = folder / "listing"
        (folder / "squeue").write_text(f"#!/bin/sh\nexec cat {self._listing}\n")
        (folder / "squeue").chmod(0o755)

    def lists(self, *lines: str) -> None:
        self._listing.write_text("".join(f"{line}\n" for line in lines))

    def breaks(self) -> None:
        self._listing.unlink()


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return Queue(tmp_path)


def test_a_slurm_job_is_done_when_the_queue_says_so(queue):
    watcher = QueueWatcher()
    watcher.register_job("7_0")
    watcher.register_job("7_1")

    def done() -> list[bool]:
        time.sleep(0.002)  # submitit takes two questions within a millisecond for one
        return [watcher.is_done(job_id, mode="force") for job_id in ("7_0", "7_1")]

    assert done() == [False, False]  # squeue fails, and no answer is no end
    queue.lists("7_0 RUNNING", "7_1 PENDING", "8 RUNNING")
    assert done() == [False, False]
    queue.lists("7_0 PENDING", "8 RUNNING")  # the first was preempted and is to run again
    assert done() == [False, True]
    queue.breaks()
    assert done() == [False, True]
    queue.lists()
    assert done() == [True, True]


class Sent:
    """A job on a cluster."""

    def __init__(self, result: Any) -> None:
        self._result = result
        self.cancelled = False

    def results(self) -> list[Any]:
        if isinstance(self._result, BaseException):
            raise self._result
        return [self._result]

    def done(self) -> bool:
        return not isinstance(self._result, KeyboardInterrupt)

    def cancel(self, check: bool) -> None:
        self.cancelled = True


def test_a_dead_slurm_job_does_not_hide_the_others():
    jobs = [Sent(end(0)), Sent(UncompletedJobError("killed")), Sent(end(2))]
    ends = [each.results()[0] for each in awaited(lambda *_: jobs)(object(), object())]
    assert [each.status for each in ends] == [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.COMPLETED]
    assert str(ends[1]._return_value) == "killed"


def test_an_interrupted_sweep_cancels_its_slurm_jobs(capsys):
    jobs = [Sent(end(0)), Sent(KeyboardInterrupt()), Sent(KeyboardInterrupt())]
    with pytest.raises(KeyboardInterrupt):
        awaited(lambda *_: jobs)(object(), object())
    assert [job.cancelled for job in jobs] == [False, True, True]
    assert capsys.readouterr().err == "cancelled 2 jobs of the cluster\n"


# All of them.


class InThisProcess:
    """A launcher like Hydra's own."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [SystemExit(143), KeyboardInterrupt(), RuntimeError("no such partition")])
def test_what_ends_a_launcher_passes(error):
    with pytest.raises(type(error)) as raised:
        launch(InThisProcess(error), [["lr=0.1"]], 0)
    assert raised.value is error


def test_what_is_replaced_in_a_launcher_is_put_back(monkeypatch):
    from hydra_plugins.hydra_joblib_launcher import _core
    from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
    from submitit.slurm.slurm import SlurmJob

    seen = []
    monkeypatch.setattr(JoblibLauncher, "launch", lambda *_, **__: seen.append(_core.Parallel) or [])
    before = _core.Parallel, SlurmJob.watcher, signal.getsignal(signal.SIGTERM)
    launch(JoblibLauncher(n_jobs=1), [["lr=0.1"]], 0)
    assert seen == [Workers]
    assert (_core.Parallel, SlurmJob.watcher, signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hydra/launcher=basic"], Parallelism(1, None)),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"], Parallelism(4, max(1, cpu_count() // 4), True)),
        (["hydra/launcher=joblib"], Parallelism(cpu_count(), 1, True)),
        (["hydra/launcher=submitit_slurm"], Parallelism(256, 1)),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=6"], Parallelism(256, 6)),
        (
            ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_gpu=5", "hydra.launcher.gpus_per_task=2"],
            Parallelism(256, 10),
        ),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=8"], Parallelism(8, 1)),
        (["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=2"], Parallelism(None, 2, True)),
    ],
)
def test_how_many_trials_run_at_a_time_and_with_how_many_cpus(words, expected):
    assert parallelism(compose_config("train", words).hydra.launcher) == expected


@pytest.mark.parametrize(
    ("init", "remote", "expected"),
    [
        ({"num_cpus": 8}, {}, Parallelism(8, 1)),
        ({"num_cpus": 8}, {"num_cpus": 3}, Parallelism(2, 3)),
        ({"num_cpus": 8}, {"num_cpus": 0.5, "num_gpus": 0.5}, Parallelism(16, 1)),
        ({"address": "auto"}, {"num_cpus": 2}, Parallelism(None, 2)),
        ({}, {"num_cpus": 1}, Parallelism(cpu_count(), 1)),
    ],
)
def test_parallelism_of_ray(monkeypatch, init, remote, expected):
    """Without Ray's plugin, which is not always installed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    target = "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher"
    block = _launch.OmegaConf.create({"_target_": target, "ray": {"init": init, "remote": remote}})
    assert parallelism(block) == expected
