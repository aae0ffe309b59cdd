"""Runs trials through any of Hydra's launchers, so that the death of one is nobody else's.

As they come, the launchers lose everything to the first trial whose process dies: joblib kills the other workers,
submitit and Ray raise while the other jobs run on unseen. Here each waits for all of its jobs, and a dead one is a
failed `JobReturn`. What they do in this is Hydra's; we only replace what they wait with, for the time of a call.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hydra_plugins.quasi_random_sweeper._launchers._ends import died

TIME_LIMITS = 1000
"""How many time limits of the cluster a trial may outlive, where the launcher leaves it at none: a trial goes on."""


def launch(launcher: Launcher, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
    """Run the jobs with these overrides to their ends, of which each has one: `FAILED` where its process died.

    The exception of a job that failed, or what is known of its death, is in `_return_value`.

    Raises:
        KeyboardInterrupt, SystemExit: somebody wants it to end. No job is left running.
    """
    around = _AROUND.get(_plugin(type(launcher).__module__))
    if around is None:  # in this process, where a trial sees to signals itself; or a launcher that we do not know
        return list(launcher.launch(job_overrides, initial_job_idx=initial_job_idx))
    with _sigterm_as_exit(), around(launcher):
        return list(launcher.launch(job_overrides, initial_job_idx=initial_job_idx))


@dataclass(frozen=True)
class Parallelism:
    """How a launcher spreads trials.

    `workers` is the number of trials that run at a time, `cpus_per_trial` what each then has for itself; None where
    nobody can say. Trials with `shared_devices` all see every GPU of one machine.
    """

    workers: int | None = 1
    cpus_per_trial: int | None = None
    shared_devices: bool = False


def parallelism(launcher: Any) -> Parallelism:
    """What the block `hydra.launcher` of a config says of it."""
    plain: Any = OmegaConf.to_container(launcher, resolve=True)
    read = _PARALLELISM.get(_plugin(plain["_target_"]))
    if read is None:  # Hydra's own runs one trial after the other; what another one does, it alone knows
        return Parallelism(1 if plain["_target_"].startswith("hydra._internal.") else None)
    return read(plain)


def _plugin(target: str) -> str:
    """`hydra_joblib_launcher`."""
    return target.removeprefix("hydra_plugins.").partition(".")[0]


def _of_joblib(block: Mapping[str, Any]) -> Parallelism:
    from joblib import cpu_count, effective_n_jobs

    workers = effective_n_jobs(block["n_jobs"])
    return Parallelism(workers, max(1, cpu_count() // workers), shared_devices=True)


def _of_submitit(block: Mapping[str, Any]) -> Parallelism:
    cpus = block["cpus_per_task"] or 1  # Slurm's default
    if block["_target_"].endswith("LocalLauncher"):  # all at once
        return Parallelism(None, cpus, shared_devices=True)
    if block["cpus_per_gpu"] and block["gpus_per_task"]:
        cpus = block["cpus_per_gpu"] * block["gpus_per_task"]
    return Parallelism(block["array_parallelism"], cpus)


def _of_ray(block: Mapping[str, Any]) -> Parallelism:
    from joblib import cpu_count

    cpus = float(block["ray"]["remote"].get("num_cpus", 1))
    workers = None
    if not _joins_a_cluster(block["ray"]["init"]):
        workers = max(1, int((block["ray"]["init"].get("num_cpus") or cpu_count()) / (cpus or 1)))
    return Parallelism(workers, max(1, int(cpus)))


def _joins_a_cluster(init: Mapping[str, Any]) -> bool:
    return (init.get("address") or os.environ.get("RAY_ADDRESS") or "local") != "local"


_PARALLELISM: dict[str, Callable[[Mapping[str, Any]], Parallelism]] = {
    "hydra_joblib_launcher": _of_joblib,
    "hydra_submitit_launcher": _of_submitit,
    "hydra_ray_launcher": _of_ray,
}


@contextmanager
def _around_joblib(launcher: Launcher) -> Iterator[None]:
    from hydra_plugins.hydra_joblib_launcher import _core

    from hydra_plugins.quasi_random_sweeper._launchers._joblib import Workers

    with patch.object(_core, "Parallel", Workers):
        yield


@contextmanager
def _around_submitit(launcher: Any) -> Iterator[None]:
    from submitit import AutoExecutor
    from submitit.slurm.slurm import SlurmJob

    from hydra_plugins.quasi_random_sweeper._launchers._slurm import QueueWatcher, awaited

    # Hydra's 0 is meant for code that cannot go on where it was stopped; preempted trials are requeued in any case.
    launcher.params["max_num_timeout"] = launcher.params.get("max_num_timeout") or TIME_LIMITS
    with (
        patch.object(SlurmJob, "watcher", QueueWatcher(delay_s=30)),
        patch.object(AutoExecutor, "map_array", awaited(AutoExecutor.map_array)),
    ):
        yield


@contextmanager
def _around_ray(launcher: Any) -> Iterator[None]:
    import ray
    from hydra_plugins.hydra_ray_launcher import _core

    def get(reference: Any) -> JobReturn:
        try:
            end: JobReturn = ray.get(reference)
        except ray.exceptions.RayError as error:
            return died(error)
        return end

    # Ray would run a trial that is too large for its machine again and again, for ever; a study counts, and says why.
    launcher.ray_cfg.remote.setdefault("max_retries", 0)
    init: Any = OmegaConf.to_container(launcher.ray_cfg.init, resolve=True)
    if init.get("address") != "local" and not ray.is_initialized():
        # To join a cluster is not for Hydra 1.3's launcher: it would ask it for an object store of 75 MiB, which Ray
        # refuses, and the workers would be in the folder in which the cluster was started.
        there = {"worker_process_setup_hook": _into(Path.cwd()), **init.get("runtime_env", {})}
        try:
            ray.init(**init | {"address": init.get("address") or "auto", "runtime_env": there})
        except ConnectionError:  # there is none: the launcher starts one
            if _joins_a_cluster(init):
                raise
    with patch.object(_core, "ray", SimpleNamespace(get=get)):
        yield


def _into(folder: Path) -> Callable[[], None]:
    """A function of no arguments, which Ray can send to its workers, where a `partial` cannot be."""

    def change_directory() -> None:
        os.chdir(folder)

    return change_directory


_AROUND = {
    "hydra_joblib_launcher": _around_joblib,
    "hydra_submitit_launcher": _around_submitit,
    "hydra_ray_launcher": _around_ray,
}


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """A process that waits for others must not vanish without a word to them."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
