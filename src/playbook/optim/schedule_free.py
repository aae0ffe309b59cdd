"""Schedule-free learning (Defazio et al. 2024, arXiv 2405.15682): an average of the weights in the place of a schedule.

The gradient is taken at y, the weights that are trained; what is evaluated and kept is x, an average of all steps.
Between the two lies no copy: x follows from y and the state, and `evaluation_weights` puts it in place for as long as
it is looked at.

The average weighs a step by the square of the largest lr so far, as the authors do, so that those of a warmup, which
`warmup_steps` gives as to any optimizer, count for little. The schedule is meant to be constant; none is needed.

Batch norm's running averages are of y, as everything that is gathered while training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.optim.optimizer import ParamsT

from playbook.optim import rules
from playbook.optim.base import Bucket, DecayBy, Optimizer
from playbook.optim.foreach import add_scaled_, interpolate_
from playbook.optim.optimizers import Decay

Between = Annotated[float, Field(gt=0, lt=1)]
"""How far y lies from z towards x; at 0, y would be z and say nothing of x."""


class _ScheduleFree(Optimizer):
    """What the two share: the average's weights, the decay and the weights to evaluate."""

    momentum_key: ClassVar[str]

    def __init__(
        self,
        params: ParamsT,
        hyperparameters: dict[str, float],
        decay_norm_and_bias: bool,
        decay: DecayBy,
    ) -> None:
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)
        for group in self.param_groups:
            group |= {"steps": 0, "largest_lr": 0.0, "weight_sum": 0.0, "share": 0.0}

    def begin_step(self, group: dict[str, Any]) -> None:
        """The share of this step in the average: its weight, of the sum of those so far."""
        lr, largest = group["lr"], group["largest_lr"]
        if isinstance(lr, Tensor):
            group["largest_lr"] = torch.maximum(torch.as_tensor(largest, dtype=lr.dtype, device=lr.device), lr)
        else:
            group["largest_lr"] = max(lr, largest)
        group["steps"] += 1
        weight = group["steps"] ** group["step_power"] * group["largest_lr"] ** group["lr_power"]
        total = group["weight_sum"] = group["weight_sum"] + weight
        if isinstance(total, Tensor):
            group["share"] = torch.where(total > 0, weight / total, 0.0)
        else:
            group["share"] = weight / total if total > 0 else 0.0

    def decay_weights(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """Nothing here: what decays is a part of the direction, in which y is that of before the step."""

    def directions(self, bucket: Bucket, group: Mapping[str, Any]) -> list[Tensor]:
        """A new list: what z is moved against, without the decay."""
        raise NotImplementedError

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """d ← direction + weight_decay·y; then `rules.schedule_free`."""
        directions = self.directions(bucket, group)
        rate = self.decay_rate(group)
        if isinstance(rate, Tensor) or rate != 0:
            add_scaled_(directions, bucket.params, rate)
        rules.schedule_free(
            bucket.params,
            directions,
            bucket.state["fast"],
            lr=group["lr"],
            momentum=group[self.momentum_key],
            share=group["share"],
        )

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Within it the parameters are the average x; see `base.evaluation_weights`.

        They come back as copies of what they were: y recomputed from x would differ in its last bits, so that a run
        would depend on how often it is evaluated.
        """
        trained: list[tuple[list[Tensor], list[Tensor]]] = []
        with torch.no_grad():
            for group in self.param_groups:
                params = [param for param in group["params"] if param in self.state]
                if params:
                    trained.append((params, [param.clone() for param in params]))
                    fast = [self.state[param]["fast"] for param in params]
                    interpolate_(params, fast, 1 - 1 / group[self.momentum_key])
        try:
            yield
        finally:
            with torch.no_grad():
                for params, values in trained:
                    torch._foreach_copy_(params, values)


class ScheduleFreeSGD(_ScheduleFree):
    """Schedule-free SGD: the rule of the authors' `SGDScheduleFree`, without their copy of the warmup.

    Its lr is 10 to 50 times that of SGD with momentum (authors' README). `step_power` is their `r`, `lr_power` their
    `weight_lr_power`.
    """

    step_kind = "gradient"
    state_begins: ClassVar[Mapping[str, float | None]] = {"fast": None}
    momentum_key = "momentum"

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: Between = 0.9,
        step_power: NonNegativeFloat = 0.0,
        lr_power: NonNegativeFloat = 2.0,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {
            "lr": lr,
            "momentum": momentum,
            "step_power": step_power,
            "lr_power": lr_power,
            "weight_decay": weight_decay,
        }
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def directions(self, bucket: Bucket, group: Mapping[str, Any]) -> list[Tensor]:
        """The gradient."""
        return [grad.clone() for grad in bucket.grads]


class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: the rule of the authors' `AdamWScheduleFree`, without their copy of the warmup.

    β₁ is how far y lies from z towards x, and no average of gradients; results depend on it more than Adam's do on its
    own (0.95 or 0.98 for long runs), and lr is 1 to 10 times AdamW's (authors' README).
    """

    step_kind = "normalised"
    state_begins: ClassVar[Mapping[str, float | None]] = {"fast": None, "second_moment": 0.0}
    momentum_key = "beta1"

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        beta1: Between = 0.9,
        beta2: Decay = 0.999,
        epsilon: PositiveFloat = 1e-8,
        step_power: NonNegativeFloat = 0.0,
        lr_power: NonNegativeFloat = 2.0,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
            "step_power": step_power,
            "lr_power": lr_power,
            "weight_decay": weight_decay,
        }
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def directions(self, bucket: Bucket, group: Mapping[str, Any]) -> list[Tensor]:
        """The gradient over the root of the average of its squares."""
        return rules.normalised(
            bucket.grads,
            bucket.state["second_moment"],
            beta2=group["beta2"],
            epsilon=group["epsilon"],
            step=bucket.step,
        )
