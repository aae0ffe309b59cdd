"""Update rules, those of the Deep Learning Tuning Playbook (rule `E9`) first, as functions of lists of tensors.

A rule changes `params` and its state in place and does nothing else: whatever it depends on is an argument, and a
hyperparameter is a float or a 0-dim tensor on the parameters' device. So the same functions serve one trial and many
trials trained in one program, and nothing here waits for the device.

The lists of one call are aligned: entry i of each belongs to parameter i and has its shape, dtype and device.
In the formulas θ is a parameter, g its gradient, η `lr`, γ `momentum`, ρ `rho`, ε `epsilon`, and t `step`, from 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from playbook.optim.foreach import (
    Coefficient,
    add_scaled_,
    add_scaled_ratio_,
    average_,
    average_squares_,
    interpolate_,
)

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of X ← aX + b(XXᵀ)X + c(XXᵀ)²X, chosen for the steepest slope at 0 (Jordan 2024)."""
_SMALLEST_NORM = 1e-7

MatchRMS = Literal["spectral", "adamw"]
"""What the size of an orthogonalised update is matched to: see `muon`."""


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


def muon(
    params: list[Tensor],
    grads: list[Tensor],
    velocity: list[Tensor],
    *,
    lr: Coefficient,
    momentum: Coefficient,
    nesterov: bool,
    newton_schulz_steps: int,
    match_rms: MatchRMS,
) -> None:
    """v ← γv + (1−γ)g; θ ← θ − η·s·orthogonalised(γv + (1−γ)g), without `nesterov` of v (Jordan 2024, Muon).

    The share s makes up for the shape, rows × columns: √max(1, rows/columns), the authors' own, which keeps the
    spectral norm; or 0.2·√max(rows, columns), which gives the root mean square of AdamW's updates and so lets its lr
    and weight decay serve (Liu et al. 2025, arXiv 2502.16982). What has more than two dimensions, as a convolution, is
    a matrix of its first by all others.
    """
    average_(velocity, grads, momentum)
    updates = velocity
    if nesterov:
        updates = [grad.clone() for grad in grads]
        interpolate_(updates, velocity, momentum)
    for param, update in zip(params, updates, strict=True):
        matrix = update.flatten(1)
        rows, columns = matrix.shape
        share = math.sqrt(max(1, rows / columns)) if match_rms == "spectral" else 0.2 * math.sqrt(max(rows, columns))
        direction = orthogonalised(matrix, newton_schulz_steps).view_as(param)
        rate = lr * share
        if isinstance(rate, Tensor):
            param.sub_(direction.to(param.dtype) * rate)
        else:
            param.add_(direction, alpha=-rate)


def orthogonalised(matrix: Tensor, steps: int) -> Tensor:
    """About UVᵀ of matrix = USVᵀ: all singular values between 0.7 and 1.2 after 5 `steps` of a Newton–Schulz iteration.

    In bfloat16, as the authors and torch do it: what it rounds is less than what the iteration leaves undone.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=_SMALLEST_NORM)  # no singular value is above 1
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def schedule_free(
    params: list[Tensor],
    directions: list[Tensor],
    fast: list[Tensor],
    *,
    lr: Coefficient,
    momentum: Coefficient,
    share: Coefficient,
) -> None:
    """z ← z − ηd; x ← (1−c)x + cz; y ← (1−γ)z + γx (Defazio et al. 2024, arXiv 2405.15682, equations 1 to 3).

    y are the `params`, where the gradient was taken; z is `fast`; d is the gradient, or what AdamW makes of it; c is
    the `share` of this step in the average x, which is not stored: it follows from y and z.
    """
    interpolate_(params, fast, share)
    add_scaled_(params, directions, lr * (momentum * (1 - share) - 1))
    add_scaled_(fast, directions, -lr)


def normalised(
    grads: list[Tensor], second_moment: list[Tensor], *, beta2: Coefficient, epsilon: Coefficient, step: Coefficient
) -> list[Tensor]:
    """v ← β₂v + (1−β₂)g²; g/(√(v/(1−β₂ᵗ)) + ε): Adam's direction without an average of gradients."""
    average_squares_(second_moment, grads, beta2)
    root = torch._foreach_div(second_moment, 1 - beta2**step)
    torch._foreach_sqrt_(root)
    torch._foreach_add_(root, epsilon)
    return list(torch._foreach_div(grads, root))


def _bias_correction(beta1: Coefficient, beta2: Coefficient, step: Coefficient) -> Coefficient:
    """√(1−β₂ᵗ)/(1−β₁ᵗ): what averages that begin at zero lack, in both moments at once."""
    return (1 - beta2**step) ** 0.5 / (1 - beta1**step)
