"""What our instrumented training step costs, against the same step without us.

    make bench        or        python benchmarks/step_overhead.py [--rounds 7] [--workload digits]

Four ways to train the same network on the same batches with the same clipped SGD, one thread, in one process:

    bare        a PyTorch loop: foreach SGD, clip_grad_norm_, batches indexed from memory
    lightning   Lightning's loop, clipping the same way and recording nothing
    ours        `playbook.training.train` with logger=none: every row of steps.csv
    usual       Lightning as people write it: self.log and grad_norm each step, gradient_clip_val, a DataLoader

They take turns within a round, in a new order each round; the figures are medians over rounds of the mean time of a
step, evaluations and start-up left out, and ratios are taken within a round.
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import playbook

import pytorch_lightning as pl  # isort: skip
import torch
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import grad_norm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from playbook.data import Source, StepLoader, TensorSplit
from playbook.data.order import StepOrder
from playbook.errors import InputError
from playbook.models import MLP
from playbook.training import train
from playbook.trial_config import compose

WARM_UP = 50  # steps at the start of each turn that do not count
CLIP_NORM = 1.0
LR = 0.05


@dataclass(frozen=True)
class Workload:
    name: str
    overrides: tuple[str, ...]
    width: int
    batch_size: int
    num_steps: int


WORKLOADS = (
    Workload("digits 64-64-64-10, batch 64", ("data=digits",), 64, 64, 600),
    Workload("Fashion-MNIST 784-256-256-10, batch 128", ("data=fashion_mnist",), 256, 128, 300),
    Workload("Fashion-MNIST 784-512-512-10, batch 512", ("data=fashion_mnist",), 512, 512, 130),
)


class Silent(pl.LightningModule):
    """The same step as ours without a record of it."""

    def __init__(self, model: nn.Module, loader: StepLoader, clock: list[float]) -> None:
        super().__init__()
        self.model, self.loader, self.clock = model, loader, clock

    def train_dataloader(self) -> StepLoader:
        return self.loader

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR, foreach=True)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters(), CLIP_NORM, foreach=True)

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.append(time.perf_counter())


class Usual(pl.LightningModule):
    """The step that the documentation's examples add up to."""

    def __init__(self, model: nn.Module, split: TensorSplit, batch_size: int, clock: list[float]) -> None:
        super().__init__()
        self.model, self.clock = model, clock
        self.data = DataLoader(TensorDataset(split.inputs, split.targets), batch_size, shuffle=True, drop_last=True)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.data

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self.model(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log_dict(grad_norm(self, norm_type=2))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR, foreach=True)

    def on_train_batch_end(self, *_: Any) -> None:
        self.clock.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workload", default="", help="only those whose name contains this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for workload in WORKLOADS:
        if arguments.workload in workload.name:
            measure(workload, arguments.rounds)


def measure(workload: Workload, rounds: int) -> None:
    config = compose(*workload.overrides)
    source: Source = config.data.build()
    try:
        split = source.load("train")
    except InputError as error:
        print(f"{workload.name}: skipped ({error})")
        return
    assert isinstance(split, TensorSplit)
    turns: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(workload, split),
        "lightning": lambda: lightning(workload, split),
        "ours": lambda: ours(workload),
        "usual": lambda: usual(workload, split),
    }
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name in random.sample(list(turns), len(turns)):
            times[name].append(turns[name]())
    print(f"\n{workload.name}, one thread, {rounds} rounds of {workload.num_steps} steps")
    for name, values in times.items():
        against_bare = median(a / b for a, b in zip(values, times["bare"], strict=True))
        against_lightning = median(a / b for a, b in zip(values, times["lightning"], strict=True))
        print(
            f"  {name:10} {median(values) * 1e3:7.3f} ms a step ({min(values) * 1e3:.3f} to {max(values) * 1e3:.3f})"
            f"   × bare {against_bare:5.2f}   × lightning {against_lightning:5.2f}"
        )


def network(workload: Workload, split: TensorSplit) -> nn.Module:
    torch.manual_seed(0)
    return MLP(input_shape=split.input_shape, num_outputs=10, width=workload.width, depth=2)


def bare(workload: Workload, split: TensorSplit) -> float:
    model = network(workload, split)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, foreach=True)
    order = StepOrder(len(split), batch_size=workload.batch_size, seed=0)
    clock = []
    for step in range(workload.num_steps):
        inputs, targets = split.batch(order(step))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM, foreach=True)
        optimizer.step()
        clock.append(time.perf_counter())
    return mean_step(clock)


def lightning(workload: Workload, split: TensorSplit) -> float:
    clock: list[float] = []
    loader = StepLoader(split, batch_size=workload.batch_size, seed=0, num_steps=workload.num_steps)
    fit(Silent(network(workload, split), loader, clock), workload.num_steps)
    return mean_step(clock)


def usual(workload: Workload, split: TensorSplit) -> float:
    clock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        module = Usual(network(workload, split), split, workload.batch_size, clock)
        fit(module, workload.num_steps, logger=CSVLogger(folder), gradient_clip_val=CLIP_NORM)
    return mean_step(clock)


def fit(module: pl.LightningModule, max_steps: int, **more: Any) -> None:
    settings: dict[str, Any] = {"accelerator": "cpu", "max_steps": max_steps, "max_epochs": -1, "logger": False}
    off = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(**settings | off | more).fit(module)


def ours(workload: Workload) -> float:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *workload.overrides,
            *("logger=none", "optimizer=sgd", f"lr={LR}", f"clip_norm={CLIP_NORM}", "trainer.device=cpu"),
            *(f"model.width={workload.width}", "model.depth=2", f"batch_size={workload.batch_size}"),
            *(f"max_steps={workload.num_steps}", "eval_every=1000000", f"output_dir={folder}/run"),
        ]
        train(compose(*overrides), verbose=False)
        seconds = playbook.load_run(Path(folder) / "run").steps["step_seconds"].to_list()
    return sum(seconds[WARM_UP:]) / len(seconds[WARM_UP:])


def mean_step(clock: list[float]) -> float:
    return (clock[-1] - clock[WARM_UP - 1]) / (len(clock) - WARM_UP)


if __name__ == "__main__":
    main()
