"""The trial that the tests compare with: plain PyTorch on the digits, without Lightning or any loop of ours.

Shared with the program are only the definitions that a trial's numbers follow from: which examples a step sees and
what each seed is for. Network, clipping, update and schedule are torch's, or written out here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from playbook.data import Digits
from playbook.data.order import StepOrder
from playbook.models import MLP
from playbook.randomness import Stream, fold_in


@dataclass
class PlainRun:
    """A row a step of the weights before its update; `weights[k]` are those after k updates, flattened."""

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)


def plain_run(
    *,
    lr: float,
    max_steps: int,
    warmup_steps: int = 0,
    batch_size: int = 32,
    width: int = 128,
    dropout: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
    decay: bool = False,
    clip_norm: float | None = None,
    seed: int = 0,
) -> PlainRun:
    """Trains two hidden layers with SGD; `decay` is a straight line to 0 after the warmup."""
    train = Digits().load("train")
    inputs, targets = train.batch(torch.arange(len(train)))
    model = _network(seed, width, dropout)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=nesterov, foreach=False)
    run = PlainRun(weights=[nn.utils.parameters_to_vector(model.parameters()).detach()])
    order = StepOrder(len(train), batch_size=batch_size, seed=seed)
    for step in range(warmup_steps + max_steps):
        if step < warmup_steps:
            rate = lr * step / warmup_steps
        else:
            rate = lr * (1 - (step - warmup_steps) / max_steps) if decay else lr
        optimizer.param_groups[0]["lr"] = rate
        torch.manual_seed(fold_in(fold_in(seed, Stream.FORWARD, 0), step))
        indices = order(step)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs[indices]), targets[indices])
        torch.autograd.backward(loss)
        limit = float("inf") if clip_norm is None else clip_norm
        norm = nn.utils.clip_grad_norm_(model.parameters(), limit, foreach=False)
        optimizer.step()
        run.losses.append(loss.item())
        run.grad_norms.append(norm.item())
        run.lrs.append(rate)
        run.weights.append(nn.utils.parameters_to_vector(model.parameters()).detach())
    return run


def _network(seed: int, width: int, dropout: float) -> nn.Sequential:
    torch.manual_seed(fold_in(seed, Stream.INITIALISATION))
    ours = MLP(input_shape=(1, 8, 8), num_outputs=10, width=width, depth=2)
    network = nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, 10),
    )
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(ours.parameters()), network.parameters())
    return network
