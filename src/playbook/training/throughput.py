"""Seconds and memory of training steps at a batch size, measured in real trials that are stopped after a second (A4).

`python -m playbook.training.throughput` is a process of its own, so that one which memory kills takes nobody along. Its
first line of input is a `Request` as JSON, each further one a batch size; it answers each with a `Measured` as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any, Literal, NoReturn

import pytorch_lightning as pl
import torch
from torch import distributed

from playbook.config import Config, load_config
from playbook.data import StreamSplit
from playbook.errors import CrashError, InputError
from playbook.training.data import load_data
from playbook.training.trial import train

FIRST_STEPS = 5
"""Steps that are not counted: buffers are allocated and kernels are chosen in them."""
MANY_STEPS = 10**7
"""Of a trial that is stopped long before."""
LEARNING_RATE = 1e-8
"""A step takes as long at any, and at this one no trial diverges."""
MOST_JUDGED = 1024
"""Examples of the one evaluation, at step 0, which is part of a trial's memory: a batch of the largest size."""
LEFT_FREE = 0.1
"""The share of the machine's free memory that stays free where no budget is given."""
LOOK_SECONDS = 0.005
"""Between two looks at the memory of this process: 2 GB/s, as fast as fresh memory is filled, are 10 MB."""


@dataclass(frozen=True)
class Request:
    """What to measure: blocks of steps, each of about `block_seconds`; `budget` are bytes that may be used.

    None are all of a GPU, and most of what is free of the machine.
    """

    config: Mapping[str, Any]
    num_blocks: int
    block_seconds: float
    most_seconds: float
    budget: int | None


@dataclass(frozen=True)
class Measured:
    """A batch size: of each block the seconds of a step, and how many of them training waited for its batch.

    `peak_bytes` is the most memory of a device, on the CPU of the processes, as long as it trained. `num_examples` are
    those of the training split, None of a stream.
    """

    batch_size: int
    status: Literal["complete", "out_of_memory"]
    seconds: tuple[float, ...] = ()
    waits: tuple[float, ...] = ()
    peak_bytes: int | None = None
    num_examples: int | None = None
    message: str = ""


class StepTimes(pl.Callback):
    """Times blocks of steps, each from the beginning of a step to that of another, writes them to `path` and stops.

    A block ends when the device has done its work. What it did after the host had asked for the last step hid waiting
    for data, which is counted as far as it was longer.
    """

    def __init__(self, path: str, num_blocks: int, block_seconds: float, most_seconds: float) -> None:
        self._path = Path(path)
        self._num_blocks, self._block_seconds, self._most_seconds = num_blocks, block_seconds, most_seconds
        self._steps = 0
        self._size: int | None = None
        self._first = 0
        self._began = self._counted_from = 0.0
        self._seconds: list[float] = []
        self._waits: list[float] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        done, self._steps = self._steps, self._steps + 1
        if done < FIRST_STEPS or trainer.should_stop:
            return
        if done == FIRST_STEPS:
            _synchronise(pl_module.device)
            self._first, self._began = done, clock()
            self._counted_from = self._began
            return
        length = done - self._first
        if self._size is None and _agreed(clock() - self._began >= self._block_seconds, pl_module.device):
            self._size = length
        if length == self._size:
            self._end_block(trainer, pl_module, length)
            self._first = done

    def _end_block(self, trainer: pl.Trainer, pl_module: Any, length: int) -> None:
        asked = clock()
        _synchronise(pl_module.device)
        now = clock()
        waited = sum(pl_module.buffer.data_seconds[-length:])
        self._seconds.append((now - self._began) / length)
        self._waits.append(max(0.0, waited - (now - asked)) / length)
        enough = len(self._seconds) == self._num_blocks
        late = len(self._seconds) > 1 and now - self._counted_from > self._most_seconds
        if enough or _agreed(late, pl_module.device):
            trainer.should_stop = True
            if trainer.global_rank == 0:
                device = pl_module.device
                on_cuda = device.type == "cuda"  # a device is a rank's own, the machine's memory is shared
                peak = torch.cuda.max_memory_reserved(device) if on_cuda else _peak() * trainer.world_size
                self._path.write_text(json.dumps({"seconds": self._seconds, "waits": self._waits, "peak_bytes": peak}))
        self._began = clock()


def clock() -> float:
    """Seconds of a clock that only goes forward."""
    return perf_counter()


def measure(request: Request, batch_size: int) -> Measured:
    """One batch size, in this process.

    Raises:
        InputError: there is no such trial.
        CrashError: the trial ended before it was measured.
    """
    _forget_peak()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "step_times.json"
        config = _stopped_trial(request, batch_size, path)
        examples = load_data(config.data, reuse=True).train
        num_examples = None if isinstance(examples, StreamSplit) else len(examples)
        del examples
        try:
            result = train(replace(config, output_dir=str(Path(folder) / "run")), verbose=False, reuse_data=True)
        except (CrashError, SystemExit):  # that the callback stopped it
            if not path.exists():
                raise
            result = None
        if result is not None:
            if result.reason == "out_of_memory":
                return Measured(batch_size, "out_of_memory", message=result.reason_message or "")
            raise CrashError(f"batch_size={batch_size}: the trial was {result.status} ({result.reason_message})")
        found = json.loads(path.read_text())
    peak = found["peak_bytes"]
    if request.budget is not None and peak > request.budget:
        return Measured(batch_size, "out_of_memory", peak_bytes=peak, message=_too_much(request.budget))
    return Measured(
        batch_size, "complete", tuple(found["seconds"]), tuple(found["waits"]), peak, num_examples=num_examples
    )


def _stopped_trial(request: Request, batch_size: int, path: Path) -> Config:
    plain = dict(request.config)
    timing = {
        "_target_": "playbook.training.throughput.StepTimes",
        "path": str(path),
        "num_blocks": request.num_blocks,
        "block_seconds": request.block_seconds,
        "most_seconds": request.most_seconds,
    }
    callbacks = {**plain["trainer"].get("callbacks", {}), "step_times": timing}
    return load_config(
        {
            **plain,
            "batch_size": batch_size,
            "lr": LEARNING_RATE,
            "max_steps": MANY_STEPS,
            "eval_every": 2 * MANY_STEPS,
            "warmup_steps": 0,
            "eval_examples": min(plain.get("eval_examples") or MOST_JUDGED, MOST_JUDGED),
            "keep_best": 0,
            "output_dir": None,
            "trainer": {**plain["trainer"], "callbacks": callbacks},
            "logger": {"_target_": "playbook.loggers.NullLogger"},
        }
    )


def _agreed(is_so: bool, device: torch.device) -> bool:
    """Whether it is so on any rank: they stop together, or wait for ever."""
    if not distributed.is_initialized():
        return is_so
    flag = torch.tensor(float(is_so), device=device)
    distributed.all_reduce(flag)
    return bool(flag > 0)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


# Memory of this process.


def _forget_peak() -> None:
    """From here on the peak is that of what comes; where the system cannot forget it, sizes have to grow."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()  # an earlier trial is kept alive by reference cycles within Lightning
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> int:
    if (most := _bytes_in("/proc/self/status", "VmHWM:")) is not None:
        return most
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest << 10


def _free() -> int | None:
    """Bytes that the system could give to a process; None where it does not say."""
    return _bytes_in("/proc/meminfo", "MemAvailable:")


def _bytes_in(path: str, name: str) -> int | None:
    """A line `name   1234 kB` of a file of Linux, in bytes; None where there is none."""
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    return None


def _resident() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


@contextmanager
def within(budget: int | None, exceeded: Callable[[], None]) -> Iterator[None]:
    """Within it `exceeded` is called when this process holds more bytes than the budget, before the machine suffers."""
    if budget is None or _resident() is None:
        yield
        return
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            if (_resident() or 0) > budget:
                exceeded()
                return
            sleep(LOOK_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _too_much(budget: int) -> str:
    return f"more than the {budget / 1e9:.3g} GB that it may use"


def main() -> None:
    """The process: see the head of this file."""
    answers = sys.stdout
    request = Request(**json.loads(sys.stdin.readline()))
    on_cuda = torch.cuda.is_available() and request.config["trainer"]["device"] in ("auto", "cuda")
    alone = request.config["trainer"]["num_devices"] == 1  # else it is its ranks that use the devices
    if on_cuda and alone and request.budget is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, request.budget / total))
    elif not on_cuda and request.budget is None and (free := _free()) is not None:
        request = replace(request, budget=round((1 - LEFT_FREE) * free))
    with redirect_stdout(sys.stderr):
        for line in iter(sys.stdin.readline, ""):
            size = int(line)

            def exceeded(size: int = size) -> NoReturn:
                assert request.budget is not None
                message = _too_much(request.budget)
                print(json.dumps(asdict(Measured(size, "out_of_memory", message=message))), file=answers, flush=True)
                os._exit(0)

            try:
                with within(None if on_cuda else request.budget, exceeded):
                    found = asdict(measure(request, size))
            except (InputError, CrashError) as error:
                found = {"error": str(error), "exit_code": error.exit_code}
            print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
