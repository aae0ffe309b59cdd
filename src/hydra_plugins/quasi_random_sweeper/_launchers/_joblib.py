"""Worker processes on this machine that stand alone: the death of one is the death of its own trial.

joblib keeps all its workers in one pool of loky's, and when one of them is killed, by a kernel short of memory, say,
all others are killed with it and what they had done is lost. Here each worker is a pool of one, with a thread that
feeds it and gives it a successor.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from hydra.core.utils import JobReturn
from joblib import cpu_count, effective_n_jobs
from joblib.externals.loky import ProcessPoolExecutor

from hydra_plugins.quasi_random_sweeper._launchers._ends import died

Call = tuple[Callable[..., JobReturn], tuple[Any, ...], Mapping[str, Any]]
"""What `joblib.delayed` makes."""

_OF_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
JOIN_SECONDS = 0.05
ORPHAN_SECONDS = 1.0
"""How often a worker looks whether its parent lives."""


class Workers:
    """Stands in for `joblib.Parallel`, whose other settings are about batches and shared arrays."""

    def __init__(self, n_jobs: int = -1, **_: Any) -> None:
        self._n_workers: int = effective_n_jobs(n_jobs)
        self._waiting: deque[tuple[int, Call]] = deque()
        self._ends: dict[int, JobReturn] = {}
        self._pids: dict[int, int] = {}  # by thread
        self._stopped = False

    def __call__(self, calls: Iterable[Call]) -> list[JobReturn]:
        """How each of the calls ended, in their order.

        An exception in this thread (Ctrl-C) has each worker stop its trial, saved, and passes on when they have; a
        second one kills them.
        """
        self._waiting.extend(enumerate(calls))
        n_workers = min(self._n_workers, len(self._waiting))
        threads = [threading.Thread(target=self._feed, args=(n_workers,), daemon=True) for _ in range(n_workers)]
        for thread in threads:
            thread.start()
        try:
            _join(threads)
        except BaseException:
            self._stop(threads)
            raise
        return [self._ends[index] for index in sorted(self._ends)]

    def _feed(self, n_workers: int) -> None:
        """Have one worker after the other call what is waiting, until nothing is."""
        worker = None
        while self._waiting:
            try:
                index, (function, arguments, named) = self._waiting.popleft()
            except IndexError:  # another thread was quicker
                break
            try:
                if worker is None:
                    worker = _worker(n_workers)
                    self._pids[threading.get_ident()] = worker.submit(os.getpid).result()
                if self._stopped:
                    break
                self._ends[index] = worker.submit(function, *arguments, **named).result()
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


def _worker(n_workers: int) -> ProcessPoolExecutor:
    share = str(max(1, cpu_count() // n_workers))
    threads = {name: share for name in _OF_THREADS if name not in os.environ}
    return ProcessPoolExecutor(1, env=threads, initializer=_watch_parent, initargs=(os.getpid(),))


def _watch_parent(parent: int) -> None:
    """In a worker: when the sweep is gone nobody wants the trial's end. It stops, saved, and the process with it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        while True:  # the first one is for the trial, the next for the process that is left without one
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(ORPHAN_SECONDS)

    threading.Thread(target=watch, daemon=True).start()
