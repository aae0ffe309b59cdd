"""What every optimizer here shares: gathering the tensors of a step, beginning their state, decaying the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from playbook.optim import rules


@dataclass(frozen=True)
class Bucket:
    """Parameters that one call of a rule can update together: same device, dtype and count of updates.

    The lists are aligned; `state` has one such list for each name in `Optimizer.state_begins`.
    """

    step: int
    params: list[Tensor] = field(default_factory=list)
    grads: list[Tensor] = field(default_factory=list)
    state: Mapping[str, list[Tensor]] = field(default_factory=dict)


class Optimizer(torch.optim.Optimizer):
    """A rule of `playbook.optim.rules` behind torch's optimizer interface.

    A subclass names its state tensors in `state_begins` and calls its rule in `update`. Hyperparameters live in
    `param_groups`, where the program writes the scheduled `lr` before each step.

    Weight decay is decoupled for every rule: θ ← θ − lr·weight_decay·θ before the update. Groups made by
    `parameter_groups` leave out normalisation parameters and biases, unless `decay_norm_and_bias` takes them in.
    """

    state_begins: ClassVar[Mapping[str, float]] = {}
    """State tensors, each of its parameter's shape, and the value that fills them before the first step."""

    def __init__(self, params: ParamsT, hyperparameters: dict[str, float], decay_norm_and_bias: bool) -> None:
        super().__init__(params, hyperparameters)
        if decay_norm_and_bias:
            for group in self.param_groups:
                if group.get("norm_and_bias", False):
                    group["weight_decay"] = hyperparameters["weight_decay"]
        self._merge_equal_groups()

    def _merge_equal_groups(self) -> None:
        """Groups that differ in nothing become one, which one call updates: 5 to 15 µs a step of a small network."""
        settings = [
            {k: v for k, v in group.items() if k not in ("params", "norm_and_bias")} for group in self.param_groups
        ]
        if all(other == settings[0] for other in settings[1:]):
            merged = [param for group in self.param_groups for param in group["params"]]
            self.param_groups = [settings[0] | {"params": merged}]

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """Call the rule on `bucket` with the hyperparameters of `group`, in place."""
        raise NotImplementedError

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, and the loss that `closure` returned; Lightning runs forward and backward in the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for bucket in self._buckets(group["params"]):
                    rules.decay_weights(bucket.params, lr=group["lr"], weight_decay=group["weight_decay"])
                    self.update(bucket, group)
        return loss

    def _buckets(self, params: list[Tensor]) -> Iterator[Bucket]:
        """Those of `params` that have a gradient.

        The count of updates is each parameter's own, because a bias correction belongs to the averages that it
        corrects: a parameter that joins later starts its own. It is a Python number, so that reading it costs nothing.
        """
        buckets: dict[tuple[torch.device, torch.dtype, int], Bucket] = {}
        for param in params:
            grad = param.grad
            if grad is None:
                continue
            step = 0
            if self.state_begins:
                state = self.state[param]
                if not state:
                    state["step"] = 0
                    for name, value in self.state_begins.items():
                        state[name] = torch.full_like(param, value, memory_format=torch.preserve_format)
                step = state["step"] = state["step"] + 1
            key = (param.device, param.dtype, step)
            bucket = buckets.get(key)
            if bucket is None:
                bucket = buckets[key] = Bucket(step, state={name: [] for name in self.state_begins})
            bucket.params.append(param)
            bucket.grads.append(grad)
            for name, tensors in bucket.state.items():
                tensors.append(state[name])
        return iter(buckets.values())
