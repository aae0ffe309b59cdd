"""Batches as a function of the step (`StepLoader`), and one exact pass over a split (`PassLoader`).

Both are thin: one picklable object makes batch number t, and either this process or worker processes ask it for
t = start, start + 1, …. Where a batch is made does not change a bit of it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Iterator
from time import perf_counter

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from playbook.batch import Batch, tensors, to_device
from playbook.data.augment import Augmentation
from playbook.data.order import StepOrder
from playbook.data.seeding import generators_seeded
from playbook.data.split import Split, StreamSplit
from playbook.randomness import Stream, fold_in


class StepLoader:
    """Training batches `(inputs, targets)` for the steps `start_step` … `num_steps` − 1.

    The examples of a step and their augmentation depend on (seed, step, rank) alone: see `StepOrder`. `batch_size` is
    global; a rank gets its equal share, and the shares of all ranks are together the batch of a single process,
    augmentation included. Starting at `start_step` skips nothing and reads nothing.

    A split in memory is indexed on `device`. Any other is read in this process, or by `num_workers` processes that
    stay ahead of the consumer, through pinned memory where `device` is a GPU.

    `wait_seconds` is how long the consumer waited for the last batch (D1): the host's time, not the device's.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        seed: int,
        num_steps: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        augmentation: Augmentation | None = None,
        num_workers: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        assert 0 <= start_step <= num_steps
        self.steps = range(start_step, num_steps)
        self.device = torch.device(device if device is not None else "cpu")
        self.in_memory = split.in_memory
        self.num_workers = 0 if split.in_memory else num_workers
        self.wait_seconds = 0.0
        split = split.to(self.device)
        order = StepOrder(
            None if isinstance(split, StreamSplit) else len(split),
            batch_size=batch_size,
            seed=seed,
            rank=rank,
            world_size=world_size,
            device=self.device if split.in_memory else None,
        )
        self._make_batch = _StepBatches(split, order, augmentation, seed, rank)
        # A DataLoader draws a seed for its workers; from a generator of its own, so that the trial's is left alone.
        self._generator = torch.Generator().manual_seed(fold_in(seed, Stream.AUGMENTATION))

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(_batches(self._make_batch, self.steps, self.num_workers, self.device, self._generator))
        for _ in self.steps:
            start = perf_counter()
            batch = _move(next(batches), self.device)
            self.wait_seconds = perf_counter() - start
            yield batch


class PassLoader:
    """Batches `(inputs, targets)` over a split, or over the examples at `indices`, in order, each exactly once.

    Of `world_size` ranks each takes every world_size-th batch, whole. Nothing is repeated to fill up, so that sums over
    ranks are exact (D6); and an example shares its batch with the same others as in a single process, so that what is
    summed is the same to the last bit. The last batch may be smaller than `batch_size`, the batch of *one* rank.
    `begins` are the places in the pass at which the batches of this rank begin.
    What a data set draws is the same in every pass. Worker processes live for one pass: those of several loaders would
    wait beside one another.
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        indices: Tensor | None = None,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        device: torch.device | str | None = None,
    ) -> None:
        self.device = torch.device(device if device is not None else "cpu")
        split = split.to(self.device)
        indices = torch.arange(len(split)) if indices is None else indices
        indices = indices.to(self.device if split.in_memory else "cpu")
        chunks = torch.split(indices, batch_size)[rank::world_size] if len(indices) else ()
        self.num_examples = sum(map(len, chunks))
        self.begins = range(rank * batch_size, len(indices), world_size * batch_size)
        self._num_batches = len(chunks)
        self._make_batch = _PassBatches(split, tuple(chunks), rank, world_size)
        self._num_workers = 0 if split.in_memory else num_workers

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        numbers = range(self._num_batches)
        for batch in _batches(self._make_batch, numbers, self._num_workers, self.device, torch.Generator()):
            yield _move(batch, self.device)


class _StepBatches(Dataset[Batch]):
    """Batch number t of training, made where it is asked for: here or in a worker process."""

    def __init__(self, split: Split, order: StepOrder, augmentation: Augmentation | None, seed: int, rank: int) -> None:
        self.split = split
        self.order = order
        self.augmentation = augmentation
        self.seed = seed
        self.rank = rank

    def __getitem__(self, step: int) -> Batch:
        indices = self.order(step)
        if self.split.in_memory:
            batch = self.split.batch(indices)
        else:
            with generators_seeded(fold_in(self.seed, Stream.AUGMENTATION, step, self.rank)):
                batch = self.split.batch(indices)
        if self.augmentation is None:
            return batch
        # Drawn for the global batch on every rank: a few integers an example, for images that do not depend on the
        # number of ranks.
        generator = torch.Generator().manual_seed(fold_in(self.seed, Stream.AUGMENTATION, step))
        draws = self.augmentation.draw(self.order.batch_size, generator)[self.order.share]
        device = next(tensors(batch.inputs)).device
        draws = draws.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else draws.to(device)
        return Batch(self.augmentation(batch.inputs, draws), batch.targets)


class _PassBatches(Dataset[Batch]):
    """Batch number n of a rank's share of a pass."""

    def __init__(self, split: Split, chunks: tuple[Tensor, ...], rank: int, world_size: int) -> None:
        self.split = split
        self.chunks = chunks
        self.rank = rank
        self.world_size = world_size

    def __getitem__(self, number: int) -> Batch:
        if self.split.in_memory:
            return self.split.batch(self.chunks[number])
        with generators_seeded(fold_in(0, Stream.EVALUATION, number * self.world_size + self.rank)):
            return self.split.batch(self.chunks[number])


class _Here:
    """The batches, made in this process as they are asked for."""

    def __init__(self, make_batch: Dataset[Batch], numbers: range) -> None:
        self.make_batch = make_batch
        self.numbers = numbers

    def __iter__(self) -> Iterator[Batch]:
        return map(self.make_batch.__getitem__, self.numbers)


def _batches(
    make_batch: Dataset[Batch], numbers: range, num_workers: int, device: torch.device, generator: torch.Generator
) -> Iterable[Batch]:
    if num_workers == 0 or not numbers:
        return _Here(make_batch, numbers)
    return DataLoader(
        make_batch,
        batch_size=None,  # an item of `make_batch` is a whole batch
        sampler=numbers,
        num_workers=min(num_workers, len(numbers)),
        pin_memory=device.type == "cuda",
        generator=generator,
        worker_init_fn=_leave_signals_to_the_trial,
        # Named, because a trial's process may have been started by a launcher: joblib's own way to start a process
        # (loky) is the default in its workers, and starts none of torch's. A fork costs milliseconds and pickles
        # nothing; macOS's libraries do not survive one.
        multiprocessing_context="fork" if sys.platform == "linux" else "spawn",
    )


def _leave_signals_to_the_trial(worker: int) -> None:
    """A signal to the whole job reaches worker processes too: the trial must get its batches to end its step.

    A second SIGTERM ends a worker, as torch does with one that does not stop by itself.
    """
    for signum in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def _move(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu" or next(tensors(batch)).device == device:
        return batch
    moved: Batch = to_device(batch, device, non_blocking=True)
    return moved
