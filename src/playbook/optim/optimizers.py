"""The optimizers that an `optimizer` option can name: hyperparameters with their bounds, and the rule they go to.

Each says how it differs from torch's of the same name, because a learning rate found with one need not suit the other.
All take `params` and `lr` from the program; `weight_decay`, `decay_norm_and_bias` and `decay` are explained in
`base.Optimizer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch.optim.optimizer import ParamsT

from playbook.optim import rules
from playbook.optim.base import Bucket, DecayBy, Optimizer

Decay = Annotated[float, Field(ge=0, lt=1)]
"""How much of an exponential average survives a step; at 1 it would never forget."""


class SGD(Optimizer):
    """Stochastic gradient descent without momentum (`E9`).

    The same as `torch.optim.SGD` without momentum, but torch's `weight_decay` is a penalty added to the gradient.
    """

    step_kind = "gradient"

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay}, decay_norm_and_bias, decay)

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """θ ← θ − ηg."""
        rules.sgd(bucket.params, bucket.grads, lr=group["lr"])


class Momentum(Optimizer):
    """SGD with heavy-ball momentum (`E9`).

    The same as `torch.optim.SGD(momentum=…)`, with decoupled weight decay.
    """

    step_kind = "gradient"
    state_begins: ClassVar[Mapping[str, float | None]] = {"velocity": 0.0}

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: Decay = 0.9,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """v ← γv + g; θ ← θ − ηv."""
        rules.momentum(
            bucket.params, bucket.grads, bucket.state["velocity"], lr=group["lr"], momentum=group["momentum"]
        )


class Nesterov(Optimizer):
    """SGD with Nesterov momentum (`E9`), which the playbook prefers to plain momentum (`A2`).

    The same as `torch.optim.SGD(momentum=…, nesterov=True)`, with decoupled weight decay.
    """

    step_kind = "gradient"
    state_begins: ClassVar[Mapping[str, float | None]] = {"velocity": 0.0}

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        momentum: Decay = 0.9,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """v ← γv + g; θ ← θ − η(γv + g)."""
        rules.nesterov(
            bucket.params, bucket.grads, bucket.state["velocity"], lr=group["lr"], momentum=group["momentum"]
        )


class RMSProp(Optimizer):
    """RMSProp as TensorFlow 1 had it (`E9`).

    Not `torch.optim.RMSprop`: here v begins at 1, which makes the first steps small where torch's v₀ = 0 makes them
    large; ε is inside the root, so that 1e-10 here acts like 1e-5 there; and the rate is inside the momentum, so that
    a new rate does not act on old gradients.
    """

    step_kind = "normalised"
    state_begins: ClassVar[Mapping[str, float | None]] = {"second_moment": 1.0, "velocity": 0.0}

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        rho: Decay = 0.9,
        momentum: Decay = 0.0,
        epsilon: PositiveFloat = 1e-10,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {
            "lr": lr,
            "rho": rho,
            "momentum": momentum,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """v ← ρv + (1−ρ)g²; m ← γm + ηg/√(v+ε); θ ← θ − m."""
        rules.rmsprop(
            bucket.params,
            bucket.grads,
            bucket.state["second_moment"],
            bucket.state["velocity"],
            lr=group["lr"],
            rho=group["rho"],
            momentum=group["momentum"],
            epsilon=group["epsilon"],
        )


class _Adaptive(Optimizer):
    """What Adam, NAdam and AdamW share: everything but the rule."""

    step_kind = "normalised"
    state_begins: ClassVar[Mapping[str, float | None]] = {"first_moment": 0.0, "second_moment": 0.0}
    rule: ClassVar[Callable[..., None]]

    def __init__(
        self,
        params: ParamsT,
        lr: float,
        *,
        beta1: Decay = 0.9,
        beta2: Decay = 0.999,
        epsilon: PositiveFloat = 1e-8,
        weight_decay: NonNegativeFloat = 0.0,
        decay_norm_and_bias: bool = False,
        decay: DecayBy = "lr",
    ) -> None:
        hyperparameters = {
            "lr": lr,
            "beta1": beta1,
            "beta2": beta2,
            "epsilon": epsilon,
            "weight_decay": weight_decay,
        }
        super().__init__(params, hyperparameters, decay_norm_and_bias, decay)

    def update(self, bucket: Bucket, group: Mapping[str, Any]) -> None:
        """m and v are the averages of the gradient and of its square; the rule of the subclass combines them."""
        adaptive_update(type(self).rule, bucket, group)


def adaptive_update(rule: Callable[..., None], bucket: Bucket, group: Mapping[str, Any]) -> None:
    """A step of one of Adam's rules, with the moments of `bucket` and the hyperparameters of `group`."""
    rule(
        bucket.params,
        bucket.grads,
        bucket.state["first_moment"],
        bucket.state["second_moment"],
        lr=group["lr"],
        beta1=group["beta1"],
        beta2=group["beta2"],
        epsilon=group["epsilon"],
        step=bucket.step,
    )


class Adam(_Adaptive):
    """Adam as TensorFlow and the playbook have it (`E9`): θ ← θ − η·b·m/(√v + ε), with b = √(1−β₂ᵗ)/(1−β₁ᵗ).

    Not `torch.optim.Adam`: here ε is added before the bias correction ("ε hat" of Kingma and Ba 2015, section 2), so
    that early in training it counts for more by 1/√(1−β₂ᵗ): 32 times at t = 1 with β₂ = 0.999. With a small ε the two
    agree. `AdamW` without weight decay is torch's. Weight decay is decoupled; torch's Adam adds a penalty.
    """

    rule = staticmethod(rules.adam)


class NAdam(_Adaptive):
    """Adam with Nesterov's look-ahead (`E9`): as `Adam` with β₁m + (1−β₁)g in the place of m.

    Not `torch.optim.NAdam`: here β₁ is constant and both terms share Adam's bias correction, where torch follows the
    momentum schedule of Dozat 2016 (`momentum_decay`) and corrects each term for itself; and ε is added before the
    correction. Weight decay is decoupled, which torch's has to be told.
    """

    rule = staticmethod(rules.nadam)


class AdamW(_Adaptive):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): the rule of `torch.optim.AdamW`.

    ε is added after the bias correction, so numbers from papers and from torch apply as they are. Unlike torch's it
    leaves normalisation parameters and biases undecayed by default, and has no decay until one is given (torch: 0.01).
    """

    rule = staticmethod(rules.adam_corrected_epsilon)
