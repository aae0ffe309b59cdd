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

from playbook.data import Source, Split, StepLoader, TensorSplit, Text
from playbook.data.order import StepOrder
from playbook.errors import InputError
from playbook.training import train
from playbook.trial_config import compose

CLIP_NORM = 1.0
LR = 0.05


@dataclass(frozen=True)
class Workload:
    """`num_steps` a turn, of which the first `warm_up` do not count."""

    name: str
    overrides: tuple[str, ...]
    batch_size: int
    num_steps: int
    warm_up: int = 50


TEXT = (
    *("task=language_modelling", "data=text", "data.context=128", "model=transformer"),
    *("data.val_fraction=0.0008", "data.test_fraction=0.9984"),  # the evaluations, which do not count, are short
)
WORKLOADS = (
    Workload("digits 64-64-64-10, batch 64", ("data=digits", "model.width=64"), 64, 600),
    Workload("Fashion-MNIST 784-256-256-10, batch 128", ("data=fashion_mnist", "model.width=256"), 128, 300),
    Workload("Fashion-MNIST 784-512-512-10, batch 512", ("data=fashion_mnist", "model.width=512"), 512, 130),
    Workload("transformer of 4 layers of 256, batch 8 x 128 bytes", (*TEXT, "model.width=256"), 8, 24, warm_up=4),
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
        return loss_of(self.model, batch)

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
        loss = loss_of(self.model, batch)
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
        facts = {"vocab_size": source.vocab_size} if isinstance(source, Text) else {}
    except InputError as error:
        print(f"{workload.name}: skipped ({error})")
        return
    num_outputs = source.num_classes or facts["vocab_size"]

    def network() -> nn.Module:
        torch.manual_seed(0)
        return config.model.build(input_shape=split.input_shape, num_outputs=num_outputs, **facts)

    turns: dict[str, Callable[[], float]] = {
        "bare": lambda: bare(workload, split, network()),
        "lightning": lambda: lightning(workload, split, network()),
        "ours": lambda: ours(workload),
    }
    if isinstance(split, TensorSplit):
        turns["usual"] = lambda: usual(workload, split, network())
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


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Of labels (n,) or of tokens (n, length)."""
    return F.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


def bare(workload: Workload, split: Split, model: nn.Module) -> float:
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, foreach=True)
    order = StepOrder(len(split), batch_size=workload.batch_size, seed=0)
    clock = []
    for step in range(workload.num_steps):
        batch = split.batch(order(step))
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM, foreach=True)
        optimizer.step()
        clock.append(time.perf_counter())
    return mean_step(clock, workload.warm_up)


def lightning(workload: Workload, split: Split, model: nn.Module) -> float:
    clock: list[float] = []
    loader = StepLoader(split, batch_size=workload.batch_size, seed=0, num_steps=workload.num_steps)
    fit(Silent(model, loader, clock), workload.num_steps)
    return mean_step(clock, workload.warm_up)


def usual(workload: Workload, split: TensorSplit, model: nn.Module) -> float:
    clock: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        module = Usual(model, split, workload.batch_size, clock)
        fit(module, workload.num_steps, logger=CSVLogger(folder), gradient_clip_val=CLIP_NORM)
    return mean_step(clock, workload.warm_up)


def fit(module: pl.LightningModule, max_steps: int, **more: Any) -> None:
    settings: dict[str, Any] = {"accelerator": "cpu", "max_steps": max_steps, "max_epochs": -1, "logger": False}
    off = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    pl.Trainer(**settings | off | more).fit(module)


def ours(workload: Workload) -> float:
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            *workload.overrides,
            *("logger=none", "optimizer=sgd", f"lr={LR}", f"clip_norm={CLIP_NORM}", "trainer.device=cpu"),
            *(f"batch_size={workload.batch_size}", f"max_steps={workload.num_steps}"),
            *("eval_every=1000000", f"output_dir={folder}/run"),
        ]
        train(compose(*overrides), verbose=False)
        seconds = playbook.load_run(Path(folder) / "run").steps["step_seconds"].to_list()
    return sum(seconds[workload.warm_up :]) / len(seconds[workload.warm_up :])


def mean_step(clock: list[float], warm_up: int) -> float:
    return (clock[-1] - clock[warm_up - 1]) / (len(clock) - warm_up)


if __name__ == "__main__":
    main()
