"""What a trial would take, from a few of its steps and one evaluation: the cost of a plan before its first trial (B4).

The trial itself is begun in a temporary folder that goes away, without its logger and without a download, and stopped.
`python -m playbook.training.timing` reads a config as JSON from its input and prints the seconds.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch

from playbook.config import Config, load_config
from playbook.errors import CrashError
from playbook.training.build import build
from playbook.training.device import choose_device, environment
from playbook.training.loop import TrialLoop
from playbook.training.nodes import first_rank
from playbook.training.resume import begin
from playbook.training.signals import Interrupts

FIRST_STEPS = 5
"""Steps that are not counted: buffers are allocated and kernels are chosen in them."""
SECONDS = 2.0
"""How long steps are counted: enough for a thousand of a small network."""


class Stopwatch(pl.Callback):
    """Stops a trial when `SECONDS` have been counted, or its steps are over; then it has its last evaluation timed."""

    def __init__(self, total_steps: int, clock: Callable[[], float]) -> None:
        self._total_steps = total_steps
        self._clock = clock
        self._first_steps = min(FIRST_STEPS, total_steps - 1)
        self._began = 0.0
        self._batches = 0
        self.step_seconds: float | None = None
        self.evaluation_seconds: float | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._batches == self._first_steps:
            self._began = self._now(pl_module)
        self._batches += 1

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        counted = self._batches - self._first_steps
        if counted < 1:
            return
        if self._batches == self._total_steps or self._clock() - self._began >= SECONDS:
            self.step_seconds = (self._now(pl_module) - self._began) / counted
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrialLoop)
        pl_module.buffer.settle()
        began = self._now(pl_module)
        pl_module.commit()
        self.evaluation_seconds = self._now(pl_module) - began

    def _now(self, pl_module: pl.LightningModule) -> float:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        return self._clock()


def seconds_of_trial(plain: Mapping[str, Any], clock: Callable[[], float] = perf_counter) -> float | None:
    """Seconds of the trial with this config on this machine, its evaluations among them; `clock` counts them.

    None where they cannot be known: of several devices, or where the trial diverges in its first steps.

    Raises:
        InputError: the trial cannot be trained as its config says, or its data are not here yet.
    """
    config = _without_traces(plain)
    rank = first_rank(config.trainer)
    if rank.world_size > 1:
        return None
    device = choose_device(config.trainer.device, config.trainer.precision, rank)
    total_steps = config.total_steps
    stopwatch = Stopwatch(total_steps, clock)
    with TemporaryDirectory() as folder:
        # An evaluation among the steps would be counted as one.
        config = replace(config, output_dir=folder, eval_every=total_steps)
        setup = build(config, rank, device)
        setup = replace(setup, callbacks=[*setup.callbacks, stopwatch])
        state = begin(Path(folder), config, environment(device, rank))
        with Interrupts() as interrupts, suppress(CrashError):  # that a callback stopped it
            TrialLoop(setup, state, interrupts, verbose=False).run()
    if stopwatch.step_seconds is None or stopwatch.evaluation_seconds is None:
        return None
    evaluations = 1 + math.ceil(total_steps / int(plain["eval_every"]))
    return total_steps * stopwatch.step_seconds + evaluations * stopwatch.evaluation_seconds


def _without_traces(plain: Mapping[str, Any]) -> Config:
    """The config, to train from step 0 without a logger, and without fetching data that are not there."""
    data = {**plain["data"], **({"download": False} if "download" in plain["data"] else {})}
    own: dict[str, Any] = {"keep_commits": [], "continue_from": None, "pause_at": None}
    return load_config({**plain, **own, "data": data, "logger": {"_target_": "playbook.loggers.NullLogger"}})


if __name__ == "__main__":
    print(seconds_of_trial(json.load(sys.stdin)))
