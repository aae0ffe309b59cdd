"""The launchers' waiting: every job has an end, whatever becomes of its process, and none runs on unseen."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from joblib import cpu_count

from hydra_plugins.quasi_random_sweeper import _core
from hydra_plugins.quasi_random_sweeper._launchers import _joblib, _ray, _submitit
from hydra_plugins.quasi_random_sweeper._launchers._joblib import Workers
from hydra_plugins.quasi_random_sweeper._launchers._launch import Parallelism, launch, parallelism
from playbook.composition import compose_config
from playbook.errors import InputError


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
    ends = Workers(2).run([partial(job, number) for number in range(8)])
    bad, good = ends[1:4], [ends[0], *ends[4:]]
    assert [each.status for each in bad] == [JobStatus.FAILED] * 3
    assert [type(each._return_value).__name__ for each in bad] == ["TerminatedWorkerError", "SystemExit", "ValueError"]
    assert [each._return_value[0] for each in good] == [0, 4, 5, 6, 7]
    assert all(gone(pid) for pid in {each._return_value[1] for each in good})


def test_workers_are_few_and_live_long():
    ends = Workers(2).run([partial(end, number) for number in range(6)])
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

    assert Workers(2).run([partial(threads, number) for number in range(2)]) == [str(expected)] * 2


def test_a_job_can_start_processes_of_its_own():
    """As ranks are (spawn), and as a loader's workers are (the default way)."""

    def start_both() -> Any:
        processes = [multiprocessing.get_context(way).Process(target=os.getpid) for way in ("spawn", None)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]

    assert Workers(1).run([start_both]) == [[0, 0]]


SWEEP = """
import os, signal, sys, time
import polars  # as in a sweep: its handler of SIGINT restarts a wait for a lock
from pathlib import Path
from types import SimpleNamespace
from functools import partial
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

Workers(2).run([partial(job, number) for number in range(4)])
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.integration)])
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


# Slurm, of which each command is a script.

COMMANDS = {
    "srun": "exit 0",
    "sbatch": """
        [ -e full ] && [ -e number ] && exit 1
        number=$(( $(cat number 2>/dev/null || echo 0) + 1 ))
        echo $number > number
        cp "$1" script_$number
        echo "Submitted batch job $number" """,
    "squeue": "cat listing",
    "scontrol": "cat config",
    "scancel": "echo $* >> cancelled",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a cluster: `listing` is what squeue prints, `config` what scontrol does; without it they fail."""
    for name, script in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(_submitit, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(_submitit, "RESULT_SECONDS", 0.0)
    monkeypatch.setattr(_submitit, "LONGEST_QUIET_SECONDS", 0.0)
    return tmp_path


def block(folder: Path, **settings: Any) -> dict[str, Any]:
    """`hydra.launcher` of Slurm's."""
    return {
        "_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "submitit_folder": f"{folder}/%j",
        "array_parallelism": 256,
        **settings,
    }


def arrays(slurm: Path) -> list[str]:
    """What each submission asks for, such as `0-2%256`, and nothing for a single job."""
    scripts = sorted(slurm.glob("script_*"))
    return [next(iter(re.findall(r"--array=(\S+)", path.read_text())), "") for path in scripts]


ENDED = "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT"
NOT_ENDED = (
    "CONFIGURING COMPLETING PENDING RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING SIGNALING"
    " SPECIAL_EXIT STAGE_OUT STOPPED SUSPENDED"
)
"""Together the states of squeue's manual (Slurm 22.05)."""


@pytest.mark.parametrize(
    ("state", "has_ended"),
    [(state, True) for state in ENDED.split()] + [(state, False) for state in [*NOT_ENDED.split(), "NEW_ONE"]],
)
def test_a_listed_job_runs_unless_its_state_is_one_of_an_end(slurm, state, has_ended):
    (slurm / "listing").write_text(f"7_0 {state}\n")
    assert _submitit.Queue().has_ended("7_0") == has_ended


def test_a_slurm_job_has_ended_when_the_queue_says_so(slurm):
    queue, listing = _submitit.Queue(), slurm / "listing"

    def ended() -> list[bool]:
        return [queue.has_ended(job_id) for job_id in ("7_0", "7_1")]

    assert ended() == [False, False]  # squeue fails, and no answer is no end
    listing.write_text("7_0 RUNNING\n7_1 PENDING\n8 RUNNING\n")
    assert ended() == [False, False]
    listing.write_text("7_0 PENDING\n8 RUNNING\n")  # the first was preempted and is to run again
    assert ended() == [False, True]
    listing.unlink()
    assert ended() == [False, False]
    listing.write_text("")
    assert ended() == [True, True]


def test_an_answer_from_before_a_job_was_sent_says_nothing_of_it(slurm, monkeypatch):
    monkeypatch.setattr(_submitit, "LONGEST_QUIET_SECONDS", 1000.0)
    queue = _submitit.Queue()
    (slurm / "listing").write_text("7_0 RUNNING\n")
    assert [queue.has_ended("7_0"), queue.has_ended("8_0")] == [False, False]


@pytest.mark.parametrize(
    ("config", "num_jobs", "expected"),
    [
        ("MaxArraySize            = 1001", 3, ["0-2%3"]),
        ("MaxArraySize            = 4\nMaxJobCount = 10", 10, ["0-2%2", "0-2%2", "0-3%2"]),
        ("SchedulerParameters     = defer,max_array_tasks=2\nMaxArraySize = 1001", 4, ["0-1%2", "0-1%2"]),
        ("MaxArraySize            = 0", 2, ["", ""]),
        ("", 5, ["0-4%5"]),  # Slurm does not say
    ],
)
def test_an_array_is_split_at_the_limit_of_the_cluster(slurm, config, num_jobs, expected):
    (slurm / "config").write_text(config)
    (slurm / "listing").write_text("")  # they have ended, all without a result
    ends = _submitit.run([partial(end, number) for number in range(num_jobs)], block(slurm, array_parallelism=6))
    assert arrays(slurm) == expected
    assert [str(each._return_value) for each in ends[:1]] == [
        f"job {'1_0' if expected[0] else '1'} ended without a result"
    ]
    assert [each.status for each in ends] == [JobStatus.FAILED] * num_jobs


def test_arrays_together_keep_to_the_parallelism(slurm):
    """Where it is less than one for each, the next is sent when one has ended."""
    (slurm / "config").write_text("MaxArraySize = 2")
    (slurm / "listing").write_text("1_0 RUNNING\n1_1 RUNNING\n")
    sent: list[list[str]] = []

    def stop_at_the_second_look(seconds: float) -> None:
        sent.append(arrays(slurm))
        if len(sent) == 2:
            (slurm / "listing").write_text("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_submitit.time, "sleep", stop_at_the_second_look)
        _submitit.run([partial(end, number) for number in range(4)], block(slurm, array_parallelism=1))
    assert sent[:2] == [["0-1%1"]] * 2
    assert arrays(slurm) == ["0-1%1"] * 2


def test_a_limit_on_ones_jobs_is_waited_for(slurm, monkeypatch):
    """sbatch refuses the second array while the first one is there."""
    (slurm / "config").write_text("MaxArraySize = 2")
    (slurm / "listing").write_text("1_0 RUNNING\n1_1 RUNNING\n")
    (slurm / "full").touch()

    def end_the_first(seconds: float) -> None:
        assert arrays(slurm) == ["0-1%2"]
        (slurm / "listing").write_text("")
        (slurm / "full").unlink()

    monkeypatch.setattr(_submitit.time, "sleep", end_the_first)
    assert len(_submitit.run([partial(end, number) for number in range(4)], block(slurm))) == 4
    assert arrays(slurm) == ["0-1%2"] * 2


def test_a_dead_slurm_job_does_not_hide_the_others(slurm):
    """The first and the last leave their results, as submitit writes them."""
    (slurm / "listing").write_text("")
    (slurm / "config").write_text("MaxArraySize = 1001")
    for number in (0, 2):
        folder = slurm / f"1_{number}"
        folder.mkdir()
        (folder / f"1_{number}_0_result.pkl").write_bytes(pickle.dumps(("success", end(number))))
    (slurm / "1_1").mkdir()
    (slurm / "1_1" / "1_1_0_log.err").write_text("a line\nslurmstepd: oom_kill event\n\n")
    ends = _submitit.run([partial(end, number) for number in range(3)], block(slurm))
    assert [each.status for each in ends] == [JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.COMPLETED]
    assert str(ends[1]._return_value) == "job 1_1 ended without a result: slurmstepd: oom_kill event"


def test_an_interrupted_sweep_cancels_its_slurm_jobs(slurm, monkeypatch, capsys):
    (slurm / "config").write_text("MaxArraySize = 2")
    (slurm / "listing").write_text("1_0 RUNNING\n1_1 PENDING\n2_0 PENDING\n2_1 PENDING\n")

    def ctrl_c(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_submitit.time, "sleep", ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        _submitit.run([partial(end, number) for number in range(4)], block(slurm))
    assert (slurm / "cancelled").read_text() == "1\n2\n"
    assert capsys.readouterr().err == "cancelled 4 jobs of the cluster\n"


@pytest.mark.parametrize(("module", "ends"), [("submitit.core.job_environment", SystemExit), ("mine", RuntimeError)])
def test_a_trial_whose_place_slurm_takes_has_not_crashed(module, ends):
    """submitit requeues it and ends the process by `sys.exit(-1)`, from a signal handler in the middle of a step."""
    handler = {"__name__": module, "exit": lambda code: sys.exit(code)}  # not sys.exit itself: W&B has one of its own
    exec("def checkpoint_and_try_requeue(): exit(-1)", handler)
    with pytest.raises(ends):
        _core._Contained(lambda config: handler["checkpoint_and_try_requeue"]())({})


# submitit's processes of this machine, real ones.


@pytest.mark.integration
def test_local_jobs_wait_for_their_gpu_and_one_that_dies_is_alone(tmp_path, monkeypatch):
    """There are two GPUs, so two jobs run at a time; submitit would start all four at once."""
    monkeypatch.setattr(_submitit, "cpu_count", lambda: 8)
    (tmp_path / "running").mkdir()

    def work(number: int, job_id: str) -> JobReturn:
        mark = tmp_path / "running" / job_id
        mark.touch()
        if number == 1:
            mark.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        running = len(list(mark.parent.iterdir()))
        mark.unlink()
        return JobReturn(status=JobStatus.COMPLETED, _return_value=running)

    local = {"tasks_per_node": 1, "nodes": 1, "cpus_per_task": 1, "gpus_per_node": 2, "timeout_min": 1}
    target = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"
    settings = {"_target_": target, "submitit_folder": f"{tmp_path}/%j", **local}
    jobs = [partial(work, number) for number in range(4)]
    for job in jobs:
        job.devices = 1
    ends = _submitit.run(jobs, settings)
    assert [each.status for each in ends] == [JobStatus[name] for name in ("COMPLETED", "FAILED", *["COMPLETED"] * 2)]
    assert "ended without a result" in str(ends[1]._return_value)
    assert all(each._return_value <= 2 for each in ends if each.status == JobStatus.COMPLETED)


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


def test_ray_on_aws_is_not_ray_on_this_machine(monkeypatch):
    """Its plugin has two launchers, of which we stand in for one."""
    monkeypatch.setattr(InThisProcess, "__module__", "hydra_plugins.hydra_ray_launcher.ray_aws_launcher")
    with pytest.raises(ConnectionError):
        launch(InThisProcess(ConnectionError()), [["lr=0.1"]], 0)


def test_what_is_no_launcher_or_none_of_its_keys_is_refused():
    for words, line in (
        (["hydra.launcher._target_=os.system"], "hydra.launcher=os.system: no launcher"),
        (["hydra.launcher=3"], "hydra.launcher=3: no launcher"),
        (["+hydra.launcher.foo=1"], "hydra.launcher.foo: there is no such key"),
        (["hydra/launcher=joblib", "+hydra.launcher.njobs=1"], "did you mean hydra.launcher.n_jobs"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs=0: "),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.tasks_per_node=2"], "would be run 2 times; allowed is 1"),
        (["hydra/launcher=submitit_local", "hydra.launcher.nodes=3"], "would be run 3 times; allowed is 1"),
    ):
        with pytest.raises(InputError) as refused:
            parallelism(compose_config("train", words).hydra.launcher)
        assert line in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["hydra/launcher=basic"], Parallelism(1, None)),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=4"], Parallelism(4, max(1, cpu_count() // 4), True)),
        (["hydra/launcher=joblib"], Parallelism(cpu_count(), 1, True)),
        (["hydra/launcher=submitit_slurm"], Parallelism(256, 1, elsewhere=True)),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=6"], Parallelism(256, 6, elsewhere=True)),
        (
            ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_gpu=5", "hydra.launcher.gpus_per_task=2"],
            Parallelism(256, 10, elsewhere=True),
        ),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=8"], Parallelism(8, 1, elsewhere=True)),
        (
            ["hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=2"],
            Parallelism(max(1, cpu_count() // 2), 2, True),
        ),
        (
            ["hydra/launcher=submitit_local", "hydra.launcher.gpus_per_node=4"],
            Parallelism(cpu_count(), 1, True, num_devices=4),
        ),
    ],
)
def test_how_many_trials_run_at_a_time_and_with_how_many_cpus(words, expected):
    assert parallelism(compose_config("train", words).hydra.launcher) == expected


@pytest.mark.parametrize(("devices", "workers"), [(0, 16), (1, 4), (2, 2), (3, 1), (8, 1)])
def test_trials_of_several_devices_are_fewer_at_a_time(devices, workers):
    assert Parallelism(16, 1, True, num_devices=4).of_trials(devices).workers == workers
    assert Parallelism(16, 1, True).of_trials(devices).workers == 16


@pytest.mark.parametrize(
    ("init", "remote", "expected"),
    [
        ({"num_cpus": 8}, {}, Parallelism(8, 1)),
        ({"num_cpus": 8}, {"num_cpus": 3}, Parallelism(2, 3)),
        ({"num_cpus": 8}, {"num_cpus": 0.5, "num_gpus": 0.5}, Parallelism(16, 1)),
        ({"address": "auto"}, {"num_cpus": 2}, Parallelism(None, 2, elsewhere=True)),
        ({}, {"num_cpus": 1}, Parallelism(cpu_count(), 1)),
    ],
)
def test_parallelism_of_ray(monkeypatch, init, remote, expected):
    """Without Ray's plugin, which is not always installed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert _ray.parallelism({"ray": {"init": init, "remote": remote}}) == expected


@pytest.mark.parametrize(
    ("init", "remote", "said"),
    [
        ({"num_cpuz": 1}, {}, "ray.init.num_cpuz: there is no such key; did you mean hydra.launcher.ray.init.num_cpus"),
        ({"num_cpus": "x"}, {}, "ray.init.num_cpus=x: allowed is a number"),
        ({}, {"num_cpuz": 1}, "ray.remote={'num_cpuz': 1}: Invalid option"),
    ],
)
def test_what_ray_does_not_have_is_refused_before_anything_is_written(monkeypatch, init, remote, said):
    def ray_init(address=None, *, num_cpus=None, **kwargs):
        raise AssertionError

    def ray_remote(*, max_retries, num_cpus=1, **unknown):
        if unknown:
            raise ValueError("Invalid option")
        return lambda work: work

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=ray_init, remote=ray_remote))
    with pytest.raises(InputError) as refused:
        _ray.parallelism({"ray": {"init": init, "remote": remote}})
    assert said in str(refused.value)
    assert _ray.parallelism({"ray": {"init": {"num_cpus": 4, "_temp_dir": "/tmp"}, "remote": {}}}).workers == 4


def test_joblib_of_hydra_1_4_gives_its_workers_threads():
    """`inner_max_num_threads` is new there; the number of workers is what it was."""
    expected = Parallelism(3, 5, shared_devices=True)
    assert _joblib.parallelism({"n_jobs": 3, "backend": None, "inner_max_num_threads": 5}) == expected

    def threads() -> Any:
        return os.environ["OMP_NUM_THREADS"]

    assert Workers(1, num_threads=5).run([threads]) == ["5"]
