"""Jobs of Slurm, or processes of this machine, that submitit sends away: waited for to the last, and none forgotten.

submitit tells a killed job from a running one by sacct, which needs a database that many clusters do without; without
an answer it waits for ever. So what becomes of a job is asked of squeue here, and submitit is used to send jobs, to
requeue them at the end of their time, and to read what they returned.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn
from joblib import cpu_count

from hydra_plugins.quasi_random_sweeper._launchers._job import Job, Parallelism, died
from playbook.errors import InputError

TIME_LIMITS = 1000
"""How many time limits of the cluster a trial may outlive, where the launcher leaves it at none: a trial goes on."""
TERMINAL_STATES = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED"),
    *("NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
"""Of squeue's states those that a job does not leave; a preempted one that is to run again is listed as pending."""
RESULT_SECONDS = 15.0
"""How long a shared file system may take to show what a job that has ended left."""
LOOK_SECONDS = 1.0
LONGEST_QUIET_SECONDS = 30.0
"""squeue is asked every two seconds at first, and then ever less often."""


def parallelism(block: Mapping[str, Any]) -> Parallelism:
    """The launcher of this machine has no key for it and would start all trials at once: a trial gets its CPUs, and a
    GPU where it asks for some.

    Raises:
        InputError: every trial would run several times.
    """
    for key in ("tasks_per_node", "nodes"):
        if block[key] != 1:
            raise InputError(
                f"hydra.launcher.{key}={block[key]}: each trial would be run {block[key]} times; allowed is 1, since a"
                " trial starts the processes of its devices itself"
            )
    cpus = block["cpus_per_task"] or 1  # Slurm's default
    if _is_local(block):
        workers = max(1, cpu_count() // cpus)
        return Parallelism(workers, cpus, shared_devices=True, num_devices=block["gpus_per_node"] or None)
    if block["cpus_per_gpu"] and block["gpus_per_task"]:
        cpus = block["cpus_per_gpu"] * block["gpus_per_task"]
    return Parallelism(block["array_parallelism"], cpus, elsewhere=True)


def run(jobs: Sequence[Job], block: Mapping[str, Any]) -> list[JobReturn]:
    """How each ended; interrupted, it cancels those that have not."""
    from submitit import AutoExecutor

    cluster = "local" if _is_local(block) else "slurm"
    # Hydra's 0 is meant for code that cannot go on where it was stopped; preempted trials are requeued in any case.
    time_limits = {f"{cluster}_max_num_timeout": block.get("max_num_timeout") or TIME_LIMITS}
    executor = AutoExecutor(block["submitit_folder"], cluster, **time_limits)
    not_parameters = ("_target_", "submitit_folder", "max_num_timeout")
    executor.update_parameters(**{f"{cluster}_{key}": block[key] for key in block if key not in not_parameters})
    sent = [Requeueable(job) for job in jobs]
    if cluster == "local":
        at_once = parallelism(block).of_trials(jobs[0].devices).workers or 1
        return _Sweep([[job] for job in sent], executor.submit_array, lambda job: bool(job.done()), 0.0).run(at_once)
    arrays = split(sent, largest_array())
    most = block["array_parallelism"] or len(sent)
    at_once = min(len(arrays), most)
    executor.update_parameters(slurm_array_parallelism=most // at_once)
    queue = Queue()
    sweep = _Sweep(arrays, executor.submit_array, lambda job: queue.has_ended(job.job_id), RESULT_SECONDS)
    return sweep.run(at_once)


@dataclass(frozen=True)
class Requeueable:
    """A job that submitit may send again: a trial goes on from its last commit."""

    job: Callable[[str], JobReturn]

    def __call__(self) -> JobReturn:
        from submitit import JobEnvironment

        return self.job(JobEnvironment().job_id)

    def checkpoint(self) -> Any:
        """Called by submitit when the job is preempted or its time is up."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class _Sweep:
    """Sends `arrays` of jobs by `submit`, and waits for their ends.

    A job whose result cannot be read `result_seconds` after it `has_ended` has died.
    """

    def __init__(
        self,
        arrays: Sequence[Sequence[Requeueable]],
        submit: Callable[[Sequence[Requeueable]], Sequence[Any]],
        has_ended: Callable[[Any], bool],
        result_seconds: float,
    ) -> None:
        self._waiting = deque(arrays)
        self._submit = submit
        self._has_ended = has_ended
        self._result_seconds = result_seconds
        self._num_sent = 0
        self._running: dict[int, Any] = {}  # submitit's jobs
        self._ended_at: dict[int, float] = {}
        self._ends: dict[int, JobReturn] = {}

    def run(self, num_at_once: int) -> list[JobReturn]:
        """With so many arrays at a time."""
        most = math.inf
        try:
            while self._waiting or self._running:
                while self._waiting and len({_array_of(job) for job in self._running.values()}) < num_at_once:
                    if len(self._running) >= most or not self._send():
                        most = len(self._running)  # a limit on one's jobs: the next when one of them has ended
                        break
                    most = math.inf
                for index, job in list(self._running.items()):
                    self._look(index, job)
                if self._running:
                    time.sleep(LOOK_SECONDS)
        except BaseException:
            _cancel(list(self._running.values()))
            raise
        return [self._ends[index] for index in sorted(self._ends)]

    def _send(self) -> bool:
        """Whether the next array could be sent; where none of ours is in the way it must be."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            jobs = self._submit(self._waiting[0])
        except (FailedJobError, FailedSubmissionError):
            if not self._running:
                raise
            return False
        self._waiting.popleft()
        self._running.update(enumerate(jobs, start=self._num_sent))
        self._num_sent += len(jobs)
        return True

    def _look(self, index: int, job: Any) -> None:
        if self._has_ended(job):
            self._ended_at.setdefault(index, time.monotonic())
            with suppress(OSError):  # have a shared file system look again, as submitit does
                job.paths.folder.chmod(job.paths.folder.stat().st_mode)
        else:
            self._ended_at.pop(index, None)  # it was requeued
        if job.paths.result_pickle.exists():
            try:
                (end,) = job.results()
            except Exception as error:  # submitit's own, or whatever its file with the result holds
                end = died(error)
        elif time.monotonic() - self._ended_at.get(index, math.inf) >= self._result_seconds:
            end = died(RuntimeError(f"job {job.job_id} ended without a result{_last_words(job)}"))
        else:
            return
        self._ends[index] = end
        del self._running[index]


@dataclass
class Queue:
    """What squeue says of one's jobs."""

    _states: dict[str, str] | None = None
    _began: float = field(default_factory=time.monotonic)
    _asked: float = -math.inf
    _first_wanted: dict[str, float] = field(default_factory=dict)

    def has_ended(self, job_id: str) -> bool:
        """Whether a job is listed in a terminal state, or not any more; without an answer of squeue none has ended.

        An answer from before a job was sent says nothing of it.
        """
        now = time.monotonic()
        first_wanted = self._first_wanted.setdefault(job_id, now)
        if now - self._asked >= min(LONGEST_QUIET_SECONDS, max(2.0, (now - self._began) / 2)):
            self._asked = now
            self._states = self.ask()
        if self._states is None or self._asked < first_wanted:
            return False
        return self._states.get(job_id, "COMPLETED") in TERMINAL_STATES

    def ask(self) -> dict[str, str] | None:
        """The state of each job by its number (`7_0`); None where squeue fails."""
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i %T"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            return None
        return dict(line.split() for line in answer.stdout.splitlines() if line.strip())


def largest_array() -> int | None:
    """How many jobs an array may have on this cluster; None where Slurm does not say."""
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    limits = re.findall(r"^MaxArraySize\s*=\s*(\d+)|\bmax_array_tasks=(\d+)", answer.stdout, re.MULTILINE)
    return max(1, min(int(size or tasks) for size, tasks in limits)) if limits else None


def split(jobs: Sequence[Requeueable], largest: int | None) -> list[Sequence[Requeueable]]:
    """Into as few arrays as can be, of sizes that differ by at most one."""
    count = math.ceil(len(jobs) / (largest or len(jobs)))
    bounds = [len(jobs) * index // count for index in range(count + 1)]
    return [jobs[low:high] for low, high in itertools.pairwise(bounds)]


def _is_local(block: Mapping[str, Any]) -> bool:
    return str(block["_target_"]).endswith("LocalLauncher")


def _array_of(job: Any) -> str:
    return str(job.job_id).partition("_")[0]


def _last_words(job: Any) -> str:
    lines = (job.stderr() or "").split("\n")
    return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")


def _cancel(jobs: Sequence[Any]) -> None:
    """A job of each array cancels all of it."""
    left = [job for job in jobs if not job.paths.result_pickle.exists()]
    for array, job in {_array_of(job): job for job in left}.items():
        if "_" in str(job.job_id):
            subprocess.call(["scancel", array])
        else:
            job.cancel(check=False)
    print(f"cancelled {len(left)} jobs of the cluster", file=sys.stderr)
