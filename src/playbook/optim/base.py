"""What every optimizer here shares: gathering the tensors of a step, beginning their state, decaying the weights; and
the weights that are evaluated, which for some are others than those that are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from playbook.errors import InputError
from playbook.optim import rules
from playbook.optim.foreach import Coefficient

DecayBy = Literal["lr", "independent"]
"""What of the weights a step takes away: lr·weight_decay, or weight_decay times the schedule alone."""

ALIGNED = ("params", "param_names", "param_roles", "param_growth")
"""What of a group has an entry for each of its parameters."""

StepKind = Literal["gradient", "normalised"]
"""What a step's length is: that of the gradient, or about the same in each entry whatever the gradient is."""


def evaluation_weights(optimizer: torch.optim.Optimizer) -> AbstractContextManager[None]:
    """Within it the parameters are the ones to evaluate and to keep; afterwards, to the last bit, those of before.

    They are the trained ones unless the optimizer averages (`ScheduleFree`): one that does has a method of this name.
    """
    return optimizer.evaluation_weights() if averages(optimizer) else nullcontext()  # type: ignore[attr-defined]


def averages(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it evaluates an average of the weights that it trains."""
    return hasattr(optimizer, "evaluation_weights")


def part_of(group: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
    """A group with the parameters at `places` alone."""
    aligned = {key: [group[key][place] for place in places] for key in ALIGNED if key in group}
    return {**group, **aligned}


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

    Weight decay is decoupled for every rule: θ ← θ − lr·weight_decay·θ before the update. With `decay="independent"` it
    is θ ← θ − (lr / peak lr)·weight_decay·θ, where the peak is the rate that the group was made with: the schedule acts
    on the decay and the choice of lr does not, so that the two can be tuned one by one (Loshchilov and Hutter 2019,
    equation 12; Wortsman et al. 2023, arXiv 2309.14322, section 3.2). Groups made by `parameter_groups` leave out
    normalisation parameters and biases, unless `decay_norm_and_bias` takes them in.
    """

    state_begins: ClassVar[Mapping[str, float | None]] = {}
    """State tensors, each of its parameter's shape, and the value that fills them before the first step; None: the
    parameter's own."""
    step_kind: ClassVar[StepKind | None] = None
    """How long a step is; a rule for which that does not say how it grows with a layer has its own `lr_share`."""

    def __init__(
        self,
        params: ParamsT,
        hyperparameters: dict[str, float],
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        super().__init__(params, hyperparameters)
        for group in self.param_groups:
            if decay_norm_and_bias and group.get("norm_and_bias", False):
                group["weight_decay"] = hyperparameters["weight_decay"]
            if decay == "independent":
                group["peak_lr"] = group["lr"]
        self._split_groups()
        self._scale_grown()
        self._merge_equal_groups()

    def _split_groups(self) -> None:
        """Here a subclass parts groups, by `param_names` and `param_roles`, and adds what is its own to them."""

    def lr_share(self, inputs: float, outputs: float, group: Mapping[str, Any]) -> float:
        """Which share of the rate a parameter has, whose layer has so many times its inputs and outputs.

        With it a step moves the layer's output as far as before (Yang et al. 2022, arXiv 2203.03466, table 3): the
        gradient of each entry falls as the outputs grow, and the entries of a step of any kind add up over the inputs.

        Raises:
            InputError: this rule does not say.
        """
        if self.step_kind is None:
            raise InputError(
                f"model.parametrization=mup: {type(self).__name__} does not say how its steps grow with a layer; give"
                ' the class `step_kind = "gradient"` or `step_kind = "normalised"`, or a method lr_share'
            )
        return outputs / inputs if self.step_kind == "gradient" else 1 / inputs

    def _scale_grown(self) -> None:
        """Each group whose parameters have grown, by their share of the rate. What decays of them in a step stays."""
        scaled: list[dict[str, Any]] = []
        for group in self.param_groups:
            if "param_growth" not in group:
                scaled.append(group)
                continue
            shares = [self.lr_share(inputs, outputs, group) for inputs, outputs in group["param_growth"]]
            for share in dict.fromkeys(shares):
                part = part_of(group, [place for place, each in enumerate(shares) if each == share])
                part |= {key: group[key] * share for key in ("lr", "peak_lr") if key in group}
                if "peak_lr" not in group:
                    part["weight_decay"] = group["weight_decay"] / share
                scaled.append(part)
        self.param_groups = scaled

    def _merge_equal_groups(self) -> None:
        """Groups that differ in nothing become one, which one call updates: 5 to 15 µs a step of a small network."""
        merged: list[dict[str, Any]] = []
        for group in self.param_groups:
            settings = {k: v for k, v in group.items() if k not in (*ALIGNED, "norm_and_bias")}
            own = {key: group[key] for key in ("params", "param_names") if key in group}
            for other in merged:
                if settings == {k: v for k, v in other.items() if k not in ALIGNED}:
                    for key, values in own.items():
                        other[key] = [*other[key], *values]
                    break
            else:
                merged.append(settings | own)
        self.param_groups = merged

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
                self.begin_step(group)
                for bucket in self._buckets(group):
                    self.decay_weights(bucket, group)
                    self.update(bucket, group)
        return loss

    def begin_step(self, group: dict[str, Any]) -> None:
        """Here a subclass keeps what belongs to a group and not to a parameter."""

    def decay_weights(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """Take from the weights what decays, before the update."""
        rules.decay_weights(bucket.params, lr=group["lr"], weight_decay=self.decay_rate(group))

    def decay_rate(self, group: Mapping[str, Any]) -> Coefficient:
        """What of the weights decays in a step, for each unit of lr."""
        rate: Coefficient = group["weight_decay"]
        return rate / group["peak_lr"] if "peak_lr" in group else rate

    def begins(self, group: Mapping[str, Any]) -> Mapping[str, float | None]:
        """`state_begins` of the parameters of a group."""
        return self.state_begins

    def _buckets(self, group: Mapping[str, Any]) -> Iterator[Bucket]:
        """Those parameters of `group` that have a gradient.

        The count of updates is each parameter's own, because a bias correction belongs to the averages that it
        corrects: a parameter that joins later starts its own. It is a Python number, so that reading it costs nothing.
        """
        begins = self.begins(group)
        buckets: dict[tuple[torch.device, torch.dtype, int], Bucket] = {}
        for param in group["params"]:
            grad = param.grad
            if grad is None:
                continue
            step = 0
            if begins:
                state = self.state[param]
                if not state:
                    state["step"] = 0
                    for name, value in begins.items():
                        state[name] = (
                            param.detach().clone(memory_format=torch.preserve_format)
                            if value is None
                            else torch.full_like(param, value, memory_format=torch.preserve_format)
                        )
                step = state["step"] = state["step"] + 1
            key = (param.device, param.dtype, step)
            bucket = buckets.get(key)
            if bucket is None:
                bucket = buckets[key] = Bucket(step, state={name: [] for name in begins})
            bucket.params.append(param)
            bucket.grads.append(grad)
            for name, tensors in bucket.state.items():
                tensors.append(state[name])
        return iter(buckets.values())
