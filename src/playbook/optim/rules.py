"""The update rules of the Deep Learning Tuning Playbook (rule `E9`), as functions of lists of tensors.

A rule changes `params` and its state in place and does nothing else: whatever it depends on is an argument, and a
hyperparameter is a float or a 0-dim tensor on the parameters' device. So the same functions serve one trial and many
trials trained in one program, and nothing here waits for the device.

The lists of one call are aligned: entry i of each belongs to parameter i and has its shape, dtype and device.
In the formulas θ is a parameter, g its gradient, η `lr`, γ `momentum`, ρ `rho`, ε `epsilon`, and t `step`, from 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from playbook.optim.foreach import Coefficient, add_scaled_, add_scaled_ratio_, average_, average_squares_


def decay_weights(params: list[Tensor], *, lr: Coefficient, weight_decay: Coefficient) -> None:
    """θ ← θ − η·weight_decay·θ, decoupled from the gradient (Loshchilov and Hutter 2019), before the update."""
    if isinstance(weight_decay, Tensor) or weight_decay != 0:
        torch._foreach_mul_(params, 1 - lr * weight_decay)


def sgd(params: list[Tensor], grads: list[Tensor], *, lr: Coefficient) -> None:
    """θ ← θ − ηg."""
    add_scaled_(params, grads, -lr)


def momentum(
    params: list[Tensor], grads: list[Tensor], velocity: list[Tensor], *, lr: Coefficient, momentum: Coefficient
) -> None:
    """v ← γv + g; θ ← θ − ηv. The rate multiplies the velocity, so a new rate acts on old gradients too."""
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, grads)
    add_scaled_(params, velocity, -lr)


def nesterov(
    params: list[Tensor], grads: list[Tensor], velocity: list[Tensor], *, lr: Coefficient, momentum: Coefficient
) -> None:
    """v ← γv + g; θ ← θ − η(γv + g)."""
    torch._foreach_mul_(velocity, momentum)
    torch._foreach_add_(velocity, grads)
    add_scaled_(params, velocity, -lr * momentum)
    add_scaled_(params, grads, -lr)


def rmsprop(
    params: list[Tensor],
    grads: list[Tensor],
    second_moment: list[Tensor],
    velocity: list[Tensor],
    *,
    lr: Coefficient,
    rho: Coefficient,
    momentum: Coefficient,
    epsilon: Coefficient,
) -> None:
    """v ← ρv + (1−ρ)g²; m ← γm + ηg/√(v+ε); θ ← θ − m. Here v is `second_moment`, 1 at the start; m `velocity`."""
    average_squares_(second_moment, grads, rho)
    root = torch._foreach_add(second_moment, epsilon)
    torch._foreach_sqrt_(root)
    torch._foreach_mul_(velocity, momentum)
    add_scaled_ratio_(velocity, grads, root, lr)
    torch._foreach_sub_(params, velocity)


def adam(
    params: list[Tensor],
    grads: list[Tensor],
    first_moment: list[Tensor],
    second_moment: list[Tensor],
    *,
    lr: Coefficient,
    beta1: Coefficient,
    beta2: Coefficient,
    epsilon: Coefficient,
    step: Coefficient,
) -> None:
    """m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; θ ← θ − η·b·m/(√v + ε), with b = √(1−β₂ᵗ)/(1−β₁ᵗ)."""
    average_(first_moment, grads, beta1)
    average_squares_(second_moment, grads, beta2)
    root = torch._foreach_sqrt(second_moment)
    torch._foreach_add_(root, epsilon)
    add_scaled_ratio_(params, first_moment, root, -lr * _bias_correction(beta1, beta2, step))


def nadam(
    params: list[Tensor],
    grads: list[Tensor],
    first_moment: list[Tensor],
    second_moment: list[Tensor],
    *,
    lr: Coefficient,
    beta1: Coefficient,
    beta2: Coefficient,
    epsilon: Coefficient,
    step: Coefficient,
) -> None:
    """As `adam`, but θ ← θ − η·b·(β₁m + (1−β₁)g)/(√v + ε): a look ahead by one more average (Dozat 2016)."""
    average_(first_moment, grads, beta1)
    average_squares_(second_moment, grads, beta2)
    ahead = torch._foreach_mul(first_moment, beta1)
    add_scaled_(ahead, grads, 1 - beta1)
    root = torch._foreach_sqrt(second_moment)
    torch._foreach_add_(root, epsilon)
    add_scaled_ratio_(params, ahead, root, -lr * _bias_correction(beta1, beta2, step))


def adam_corrected_epsilon(
    params: list[Tensor],
    grads: list[Tensor],
    first_moment: list[Tensor],
    second_moment: list[Tensor],
    *,
    lr: Coefficient,
    beta1: Coefficient,
    beta2: Coefficient,
    epsilon: Coefficient,
    step: Coefficient,
) -> None:
    """As `adam`, but ε joins the corrected moment: θ ← θ − η·(m/(1−β₁ᵗ))/(√(v/(1−β₂ᵗ)) + ε) (Kingma and Ba 2015).

    Multiplying both sides of the fraction by √(1−β₂ᵗ) shows that this is `adam` with ε·√(1−β₂ᵗ) for ε.
    """
    adam(
        params,
        grads,
        first_moment,
        second_moment,
        lr=lr,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon * (1 - beta2**step) ** 0.5,
        step=step,
    )


def _bias_correction(beta1: Coefficient, beta2: Coefficient, step: Coefficient) -> Coefficient:
    """√(1−β₂ᵗ)/(1−β₁ᵗ): what averages that begin at zero lack, in both moments at once."""
    return (1 - beta2**step) ** 0.5 / (1 - beta1**step)
