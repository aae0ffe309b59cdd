"""In-place arithmetic on lists of tensors: one kernel launch a list, not one a tensor.

A coefficient is a Python float or a 0-dim tensor. torch's `_foreach` functions take `alpha`, `value` and `weight` only
as numbers, and turning a tensor into a number makes the host wait for the device. So a float takes the fused kernel,
and a tensor the same formula as two or three kernels that never leave the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

Coefficient = float | Tensor
Tensors = list[Tensor] | tuple[Tensor, ...]  # what torch's own functions take and return


def add_scaled_(xs: Tensors, ys: Tensors, scale: Coefficient) -> None:
    """x ← x + scale·y."""
    if isinstance(scale, Tensor):
        torch._foreach_add_(xs, torch._foreach_mul(ys, scale))
    else:
        torch._foreach_add_(xs, ys, alpha=scale)


def add_scaled_ratio_(xs: Tensors, ys: Tensors, zs: Tensors, scale: Coefficient) -> None:
    """x ← x + scale·y/z."""
    if isinstance(scale, Tensor):
        add_scaled_(xs, torch._foreach_div(ys, zs), scale)
    else:
        torch._foreach_addcdiv_(xs, ys, zs, value=scale)


def average_(means: Tensors, xs: Tensors, decay: Coefficient) -> None:
    """mean ← decay·mean + (1 − decay)·x, the exponential moving average."""
    if isinstance(decay, Tensor):
        torch._foreach_mul_(means, decay)
        add_scaled_(means, xs, 1 - decay)
    else:
        torch._foreach_lerp_(means, xs, 1 - decay)


def average_squares_(means: Tensors, xs: Tensors, decay: Coefficient) -> None:
    """mean ← decay·mean + (1 − decay)·x²."""
    torch._foreach_mul_(means, decay)
    if isinstance(decay, Tensor):
        add_scaled_(means, torch._foreach_mul(xs, xs), 1 - decay)
    else:
        torch._foreach_addcmul_(means, xs, xs, value=1 - decay)


def interpolate_(xs: Tensors, ys: Tensors, weight: Coefficient) -> None:
    """x ← (1 − weight)·x + weight·y; a weight outside of 0 to 1 extrapolates."""
    if isinstance(weight, Tensor):
        add_scaled_(xs, torch._foreach_sub(ys, xs), weight)
    else:
        torch._foreach_lerp_(xs, ys, weight)
