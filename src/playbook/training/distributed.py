"""The processes of a data-parallel trial: started, watched, and agreeing with one another.

The process of the command line trains nothing itself. It starts one process a device, so that a trial in a sweep, in a
worker of joblib or in a cluster job is started in the same way; and when one of them dies it ends the others.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from types import FrameType
from typing import Any

import torch
from torch import distributed, nn
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException, start_processes

from playbook.errors import CrashError
from playbook.lock import SharedLock
from playbook.training.signals import SIGNALS, Interrupts

GRACE_SECONDS = 10.0
"""How long the other ranks have to end by themselves when one has died."""
MEETING_TIME = timedelta(minutes=30)
"""How long ranks wait for one another at most: until the last is started, and in what they do together."""
SILENCE_SECONDS = 2.0
"""How long a rank that lost another waits before it ends: who watches both sees first the one that has the reason."""
_ENDED_ELSEWHERE = "a rank elsewhere has ended, and what started it says why"
LOST = 98
"""The exit code of a rank that lost another one, which it cannot say more about."""


@dataclass(frozen=True)
class Rank:
    """Which of the processes of a trial this is."""

    index: int = 0
    world_size: int = 1
    local_index: int = 0
    """Its number on its machine, which is that of its device."""
    num_local: int = 1
    """How many its machine has."""

    @property
    def is_first(self) -> bool:
        """The one that writes."""
        return self.index == 0


def run_ranks(
    work: Callable[..., None],
    arguments: tuple[Any, ...],
    *,
    ranks: Sequence[Rank],
    meeting: Mapping[str, str],
    lock: SharedLock | None,
    interrupts: Interrupts,
    failed_elsewhere: Callable[[], bool] = lambda: False,
) -> int:
    """Run `work(rank, *arguments)` in a process for each of `ranks`, those of this machine; returns 0, or the exit code
    of the first that gave one.

    `meeting` are the environment variables by which all ranks find each other. Each process holds `lock` too, so that a
    folder stays locked until the last of them is gone. Ranks that are still there some time after `failed_elsewhere`,
    those of another machine, wait for what will not come, and are ended.

    Raises:
        CrashError: a process was killed, here or on another machine; the others have been ended.
        ProcessRaisedException: a process raised; its traceback is in the message, and the others have been ended.
    """
    if multiprocessing.get_start_method() == "loky":
        # joblib's processes tell those that they start to use its own way to start a process, which these do not know.
        multiprocessing.set_start_method("spawn", force=True)
    spawned = (tuple(ranks), meeting, lock, work, arguments)
    context = start_processes(  # type: ignore[no-untyped-call]
        _rank, spawned, nprocs=len(ranks), join=False, start_method="spawn"
    )
    assert context is not None
    try:
        return _watch(context, ranks, interrupts, failed_elsewhere)
    except SystemExit:  # a second Ctrl-C, which the ranks do not see
        for process in context.processes:
            process.kill()
        raise


def _watch(
    context: ProcessContext, ranks: Sequence[Rank], interrupts: Interrupts, failed_elsewhere: Callable[[], bool]
) -> int:
    """See `run_ranks`."""
    forwarded = False
    deadline: float | None = None
    while True:
        connection.wait(list(context.sentinels), timeout=0.5)
        # Looked at before the others notice: those fail in turn, in ways that say nothing of the cause.
        killed = [(number, -p.exitcode) for number, p in enumerate(context.processes) if (p.exitcode or 0) < 0]
        try:
            if context.join(timeout=0, grace_period=GRACE_SECONDS):
                return 0
        except (ProcessExitedException, ProcessRaisedException) as error:
            if interrupts.signum is not None and isinstance(error, ProcessExitedException):
                return interrupts.exit_code
            if not killed and isinstance(error, ProcessExitedException) and error.exit_code < 0:
                killed = [(error.error_index, -error.exit_code)]  # it died since we looked
            if killed:
                number, signum = killed[0]
                raise CrashError(f"rank {ranks[number].index} was ended by {signal.Signals(signum).name}") from None
            if isinstance(error, ProcessRaisedException):
                raise
            if error.exit_code == LOST:
                raise CrashError(_ENDED_ELSEWHERE) from None
            return error.exit_code
        if deadline is None and failed_elsewhere():
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
                process.join()
            raise CrashError(_ENDED_ELSEWHERE)
        if interrupts.signum is not None and not forwarded:
            forwarded = True
            for process in context.processes:
                if process.is_alive():
                    os.kill(process.pid, signal.SIGTERM)


@contextmanager
def meeting(rank: Rank, device: torch.device) -> Iterator[None]:
    """The ranks begin when all are there, and none ends before all have done their work.

    One that loses another ends with the exit code `LOST`: the others know the reason.
    """
    try:
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=rank.index,
            world_size=rank.world_size,
            timeout=MEETING_TIME,
            device_id=device if device.type == "cuda" else None,
        )
        yield
        distributed.barrier()
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or any(words in str(error) for words in _OF_A_LOST_RANK):
            time.sleep(SILENCE_SECONDS)
            sys.exit(LOST)
        raise
    distributed.destroy_process_group()


_OF_A_LOST_RANK = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL")


def any_of(flag: bool, rank: Rank, device: torch.device) -> bool:
    """Whether `flag` is set on any rank; all ranks must ask at the same step."""
    if rank.world_size == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    distributed.all_reduce(value, op=distributed.ReduceOp.MAX)
    return bool(value.item())


def average_running_statistics(model: nn.Module, rank: Rank) -> None:
    """Give all ranks the mean of their floating-point buffers: batch norm's running averages (D5).

    Each rank has seen its own part of the data; before an evaluation and a checkpoint they become one model again.
    """
    if rank.world_size == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            distributed.all_reduce(buffer)
            buffer /= rank.world_size


def _rank(
    number: int,
    ranks: tuple[Rank, ...],
    meeting: Mapping[str, str],
    lock: SharedLock | None,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    parent = os.getppid()

    def of_a_terminal(signum: int, frame: FrameType | None) -> None:
        """Ctrl-C reaches all processes of a terminal: that of the command line takes it, and asks its ranks by SIGTERM.
        When it has died, torch has them sent SIGINT too, and that counts.
        """
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    for signum in SIGNALS:  # a handler of the parent is not ours
        signal.signal(signum, of_a_terminal if signum == signal.SIGINT else signal.SIG_DFL)
    rank = ranks[number]
    places = {
        "RANK": rank.index,
        "LOCAL_RANK": rank.local_index,
        "WORLD_SIZE": rank.world_size,
        "LOCAL_WORLD_SIZE": rank.num_local,
        "GROUP_RANK": rank.index // rank.num_local,
    }
    os.environ.update({**meeting, **{name: str(value) for name, value in places.items()}})
    work(rank, *arguments)
