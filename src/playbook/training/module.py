"""One step of training, as a LightningModule: forward, backward, the norm, the clip, the update, and a record of each.

It holds all of its per-step work itself. A Lightning callback is called at some twenty places a step, whether it
implements them or not, which costs a small network a tenth of its step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from playbook.data import StepLoader
from playbook.optim import Schedule, learning_rate
from playbook.randomness import Stream, fold_in
from playbook.tasks import Task
from playbook.training.step_buffer import StepBuffer

SETTLE_EVERY = 50
"""Steps between two looks at the buffered losses: the longest that a diverged trial goes on."""


@dataclass(frozen=True)
class StepSettings:
    """What a step needs to know of the config."""

    lr: float
    max_steps: int
    warmup_steps: int
    clip_norm: float | None
    seed: int


class Observer(Protocol):
    """Who is told how far the module is: the trial, which evaluates, saves and stops."""

    def started(self, step: int) -> None:
        """Training is about to do `step`, 0 or where it goes on."""

    def step_done(self, step: int) -> None:
        """`step` updates are done."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint should hold beside weights and optimizer: plain containers."""


class _WholeRun:
    """A loader of the remaining steps that tells Lightning how many the run has: it adds those of before a resume."""

    def __init__(self, loader: StepLoader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return self._loader.steps.stop

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)


_PLAIN_ATTRIBUTES = frozenset({"_current_fx_name", "step", "_clock"})


class TrialModule(pl.LightningModule):
    """Trains `model` on `task` and tells its `observer` how far it is."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        settings: StepSettings,
        make_loader: Callable[[int], StepLoader],
    ) -> None:
        super().__init__()
        self.model = model
        self.task = task
        self.settings = settings
        self.recorder = StepBuffer(settings.clip_norm)
        self.step = 0
        self._clock = perf_counter()
        self.observer: Observer
        self._optimizer = optimizer
        self._schedule = schedule
        self._make_loader = make_loader
        self._loader: StepLoader | None = None
        self._parameters_with_grad: list[nn.Parameter] = []

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes the name of each hook here, forty times a step, and `nn.Module` searches its parameters,
        buffers and children each time: a twelfth of a small network's step.
        """
        if name in _PLAIN_ATTRIBUTES:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self._optimizer

    def train_dataloader(self) -> Iterable[Any]:
        """The batches of the steps that are still to come."""
        self._loader = self._make_loader(self.trainer.global_step)
        return _WholeRun(self._loader)

    def on_train_start(self) -> None:
        self.step = self.trainer.global_step
        self.recorder.first_step = self.step
        self.recorder.world_size = self.trainer.world_size
        self._parameters_with_grad = [p for p in self.model.parameters() if p.requires_grad]
        self._forward_seed = fold_in(self.settings.seed, Stream.FORWARD, self.global_rank)
        self._generators = [torch.default_generator]
        if self.device.type == "cuda":
            self._generators.append(torch.cuda.default_generators[self.device.index or 0])
        elif self.device.type == "mps":
            self._generators.append(torch.mps._get_default_mps_generator())
        self.observer.started(self.step)
        self.stop_clock()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """The step's random numbers and learning rate depend on its number alone."""
        settings = self.settings
        seed = fold_in(self._forward_seed, self.step)
        for generator in self._generators:
            generator.manual_seed(seed)
        lr = learning_rate(
            self.step,
            lr=settings.lr,
            schedule=self._schedule,
            max_steps=settings.max_steps,
            warmup_steps=settings.warmup_steps,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self.recorder.lrs.append(lr)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        inputs, targets = batch
        loss = self.task.loss(self.model(inputs), targets)
        self.recorder.losses.append(loss.detach())
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """The global norm of the gradient before clipping (E7): computed once, for the log, the clip, the alarm."""
        grads = [p.grad for p in self._parameters_with_grad if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        self.recorder.grad_norms.append(norm)
        if self.settings.clip_norm is not None:
            torch._foreach_mul_(grads, (self.settings.clip_norm / norm).clamp(max=1.0))

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing: Lightning calls this after the forward pass, when the next loss has been computed beside the old
        gradients. Here they are freed at the end of their step, as in a plain loop, and their memory is used again.
        """

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Close the step's record and hand over to the trial, which evaluates and saves when it is due."""
        assert self._loader is not None
        now = perf_counter()
        self.recorder.data_seconds.append(self._loader.wait_seconds)
        self.recorder.step_seconds.append(now - self._clock)
        self._clock = now
        self.step += 1
        for param in self._parameters_with_grad:
            param.grad = None
        self.observer.step_done(self.step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.observer.state())

    def close(self) -> None:
        """Let go of the data, which a reference cycle within Lightning would keep on the device."""
        self._loader = None

    def stop_clock(self) -> None:
        """Begin to time the next step now: what came before (an evaluation) is not part of it."""
        self._clock = perf_counter()

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The loader has put the batch where it belongs."""
        return batch
