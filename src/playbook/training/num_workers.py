"""How many processes make batches beside training, where the config leaves it to us: found by making one.

What a batch holds does not depend on it (`playbook.data.loader`).
"""

from __future__ import annotations

import os
import sys
from time import perf_counter

from playbook.data import Source, StepLoader
from playbook.training.distributed import Rank

QUICK_SECONDS = 0.002
"""A batch that is made in less is made in the training process: handing it over from another takes about as long."""
MOST = 4


def num_workers_for(source: Source, loader: StepLoader, rank: Rank) -> int:
    """`source.num_workers`, or, if that is auto: none for data in memory or a batch that is quickly made; otherwise the
    cores that there are beside the one that trains, at most 4 a rank. `loader` makes batches in this process.

    None as well where processes are not forked (macOS): the data set may not be one that can be sent to them.
    """
    if source.num_workers != "auto":
        return source.num_workers
    if loader.in_memory or sys.platform != "linux":
        return 0
    if any(_seconds(loader) < QUICK_SECONDS for _ in range(3)):
        return 0
    return max(1, min(MOST, (os.cpu_count() or 1) // rank.world_size - 1))


def _seconds(loader: StepLoader) -> float:
    start = perf_counter()
    next(iter(loader), None)
    return perf_counter() - start
