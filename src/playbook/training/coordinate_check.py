"""By how much a few steps move the outputs of each layer: the same at any width, or it grows with it (rule `G3`).

The coordinate check of Yang et al. (2022, arXiv 2203.03466, appendix D.1): if the changes of a layer's outputs grow
with the width, wider networks need smaller learning rates, and if they shrink, that layer stops learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from playbook.config import Config
from playbook.optim import learning_rate
from playbook.training.build import build
from playbook.training.distributed import Rank


@dataclass(frozen=True)
class Change:
    """The root mean square, over examples and coordinates, of how far a layer's outputs have moved after `step`."""

    layer: str
    step: int
    change: float


def coordinate_changes(config: Config, *, steps: int, examples: int = 64) -> list[Change]:
    """That of each layer with a weight matrix, in the model's order, after steps 1 … `steps` on the first `examples`.

    All of them are one batch, so that what is measured is the step and not what the batches differ by. The lr is that
    of the run, warmup and all. Nothing is written.

    Raises:
        InputError: the config cannot be built.
    """
    setup = build(config, Rank(), torch.device("cpu"), reuse_data=True)
    batch = setup.train.batch(torch.arange(min(examples, len(setup.train))))
    ratios = [group["lr"] / config.lr for group in setup.optimizer.param_groups]
    found: list[Change] = []
    with _recorded(setup.model) as outputs:
        setup.model.train()
        for step in range(steps + 1):
            loss = setup.task.training_loss(setup.model, batch)
            if step == 0:
                first = dict(outputs)
            else:
                moved = {name: (outputs[name] - first[name]).square().mean().sqrt().item() for name in first}
                found += [Change(name, step, change) for name, change in moved.items()]
            setup.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            lr = learning_rate(
                step,
                lr=config.lr,
                schedule=setup.schedule,
                max_steps=config.max_steps,
                warmup_steps=config.warmup_steps,
            )
            for group, ratio in zip(setup.optimizer.param_groups, ratios, strict=True):
                group["lr"] = lr * ratio
            setup.optimizer.step(lambda: 0.0)
    return found


@contextmanager
def _recorded(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """What each layer with a weight matrix gave in the last pass, and the model itself, as `output`."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                outputs[name] = output.detach().float()

        return hook

    layers = {
        name: module
        for name, module in model.named_modules()
        if name and any(param.ndim > 1 for param in module.parameters(recurse=False))
    }
    handles = [module.register_forward_hook(keep(name)) for name, module in layers.items()]
    handles.append(model.register_forward_hook(keep("output")))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
