"""Worker processes on this machine that stand alone: the death of one is the death of its own trial.

joblib keeps all its workers in one pool of loky's, and when one of them is killed, by a kernel short of memory, say,
all others are killed with it and what they had done is lost. Here each worker is a pool of one, with a thread that
feeds it and gives it a successor.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from hydra.core.utils import JobReturn
from joblib import cpu_count, effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor

from hydra_plugins.quasi_random_sweeper._launchers._job import Parallelism, died
from playbook.errors import InputError

_OF_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
JOIN_SECONDS = 0.05
ORPHAN_SECONDS = 1.0
"""How often a worker looks whether its parent lives."""


def parallelism(block: Mapping[str, Any]) -> Parallelism:
    """`n_jobs` and, from Hydra 1.4 on, `inner_max_num_threads`; other settings of joblib are of batches and arrays."""
    try:
        workers = effective_n_jobs(block["n_jobs"])
    except ValueError as error:
        raise InputError(f"hydra.launcher.n_jobs={block['n_jobs']}: {error}") from None
    return Parallelism(workers, block.get("inner_max_num_threads") or max(1, cpu_count() // workers), True)


def run(jobs: Sequence[Callable[[], JobReturn]], block: Mapping[str, Any]) -> list[JobReturn]:
    """How each ended."""
    return Workers(effective_n_jobs(block["n_jobs"]), block.get("inner_max_num_threads")).run(jobs)


class Workers:
    """`num_threads` are those of a worker's numeric libraries; None: an equal share of the CPUs."""

    def __init__(self, num_workers: int, num_threads: int | None = None) -> None:
        self._num_workers = num_workers
        self._num_threads = num_threads
        self._waiting: deque[tuple[int, Callable[[], JobReturn]]] = deque()
        self._ends: dict[int, JobReturn] = {}
        self._pids: dict[int, int] = {}  # by thread
        self._stopped = False

    def run(self, jobs: Sequence[Callable[[], JobReturn]]) -> list[JobReturn]:
        """How each of the jobs ended, in their order.

        An exception in this thread (Ctrl-C) has each worker stop its trial, saved, and passes on when they have; a
        second one kills them.
        """
        self._waiting.extend(enumerate(jobs))
        num_workers = min(self._num_workers, len(jobs))
        share = str(self._num_threads or max(1, cpu_count() // max(1, num_workers)))
        environment = {name: share for name in _OF_THREADS if self._num_threads or name not in os.environ}
        threads = [threading.Thread(target=self._feed, args=(environment,), daemon=True) for _ in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            _join(threads)
        except BaseException:
            self._stop(threads)
            raise
        return [self._ends[index] for index in sorted(self._ends)]

    def _feed(self, environment: Mapping[str, str]) -> None:
        """Have one worker after the other run what is waiting, until nothing is."""
        worker = None
        while self._waiting:
            try:
                index, job = self._waiting.popleft()
            except IndexError:  # another thread was quicker
                break
            try:
                if worker is None:
                    worker = ProcessPoolExecutor(1, env=dict(environment), initializer=_begin, initargs=(os.getpid(),))
                    self._pids[threading.get_ident()] = worker.submit(os.getpid).result()
                if self._stopped:
                    break
                self._ends[index] = worker.submit(job).result()
            except BaseException as error:  # SystemExit is how a trial ends that was asked to stop
                self._ends[index] = died(error)
                if worker is not None and not isinstance(error, SystemExit):  # after the others, a fresh process
                    self._pids.pop(threading.get_ident(), None)
                    worker.shutdown(kill_workers=True)
                    worker = None
        if worker is not None:
            worker.shutdown()

    def _stop(self, threads: list[threading.Thread]) -> None:
        self._stopped = True  # a worker whose process is not known yet looks at this when it is
        self._waiting.clear()
        try:
            self._send(signal.SIGTERM)
            _join(threads)
        except BaseException:
            self._send(signal.SIGKILL)
            raise

    def _send(self, signum: signal.Signals) -> None:
        for pid in list(self._pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)


def _join(threads: list[threading.Thread]) -> None:
    # Not `thread.join()`: polars has SIGINT's handler restart a wait for a lock, and this thread would not see Ctrl-C.
    while any(thread.is_alive() for thread in threads):
        time.sleep(JOIN_SECONDS)


def _begin(parent: int) -> None:
    """In a worker: when the sweep is gone nobody wants the trial's end. It stops, saved, and the process with it."""
    # loky has made its own way to start processes the default here, which neither ranks nor a loader's workers know.
    multiprocessing.set_start_method(None, force=True)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        while True:  # the first one is for the trial, the next for the process that is left without one
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(ORPHAN_SECONDS)

    threading.Thread(target=watch, daemon=True).start()
