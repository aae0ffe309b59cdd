"""Jobs that submitit has sent away, waited for to the last, and none forgotten on the cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from submitit.core.core import InfoWatcher, Job

from hydra_plugins.quasi_random_sweeper._launchers._ends import died


class QueueWatcher(InfoWatcher):
    """Asks squeue, where submitit asks sacct, which needs a database that many clusters do without.

    Without an answer submitit takes a killed job for a running one, for ever. What squeue does not list has ended; a
    job that is to run again after a preemption is listed as pending.
    """

    def _make_command(self) -> list[str]:
        return ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """The state of every job that was asked for: as listed, else ended."""
        text = string if isinstance(string, str) else string.decode()
        listed = dict(line.split() for line in text.splitlines() if line.strip())
        return {job_id: {"State": listed.get(job_id, "ENDED")} for job_id in self._registered}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """PENDING, RUNNING, …, ENDED; UNKNOWN where squeue has not answered."""
        return self.get_info(job_id, mode=mode).get("State", "UNKNOWN")


def awaited(map_array: Callable[..., list[Job[JobReturn]]]) -> Callable[..., list[Ended]]:
    """Submitit's `map_array` that comes back when all jobs have ended; interrupted, it cancels those that have not."""

    def map_and_wait(*arguments: Any) -> list[Ended]:
        jobs = map_array(*arguments)
        try:
            return [Ended(job) for job in jobs]
        except BaseException:
            _cancel(jobs)
            raise

    return map_and_wait


class Ended:
    """What Hydra's launcher asks of a job, of one that has ended in any way."""

    def __init__(self, job: Job[JobReturn]) -> None:
        try:
            self._end = job.results()[0]
        except Exception as error:  # submitit's own, or whatever its file with the result holds
            self._end = died(error)

    def results(self) -> list[JobReturn]:
        """A job has one task."""
        return [self._end]


def _cancel(jobs: Sequence[Job[JobReturn]]) -> None:
    left = [job for job in jobs if not job.done()]
    for job in left:
        job.cancel(check=False)
    print(f"cancelled {len(left)} jobs of the cluster", file=sys.stderr)
