"""Schedule-free optimizers against the three sequences of the paper, against their authors' package."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from playbook.optim import ScheduleFreeAdamW, ScheduleFreeSGD, evaluation_weights

STEPS = 300
SHAPES = [(3, 4), (5,), ()]
CLASSES = [ScheduleFreeSGD, ScheduleFreeAdamW]


def rate(t: int) -> float:
    """With a warmup from 0, as the program gives it, and then now and then a larger one than ever before."""
    return 0.0 if t == 0 else 0.02 * min(t / 10, 1.0) * (1.5 + math.sin(t / 7))


def gradient(t: int, which: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([t, which]).normal(size=shape) * 10.0 ** ((t + which) % 3 - 1)


def parameters() -> list[Tensor]:
    draw = np.random.default_rng(7)
    return [torch.tensor(draw.normal(size=shape), requires_grad=True) for shape in SHAPES]


def run(optimizer: Any, params: list[Tensor], steps: range = range(STEPS), rates: Any = rate) -> None:
    for t in steps:
        for i, param in enumerate(params):
            param.grad = torch.tensor(gradient(t, i, SHAPES[i]))
        for group in optimizer.param_groups:
            group["lr"] = rates(t)
        optimizer.step()


def average(optimizer: Any, params: list[Tensor]) -> list[np.ndarray]:
    with evaluation_weights(optimizer):
        return [param.detach().numpy().copy() for param in params]


@pytest.mark.parametrize("decay", [{}, {"weight_decay": 0.3}, {"weight_decay": 0.3, "decay": "independent"}])
@pytest.mark.parametrize("given", [{}, {"step_power": 1.0, "lr_power": 0.5}], ids=["default", "powers"])
@pytest.mark.parametrize("cls", CLASSES)
def test_follows_the_three_sequences_of_the_paper(cls: Any, given: dict[str, Any], decay: dict[str, Any]) -> None:
    beta, peak = 0.8, 0.05
    name = "momentum" if cls is ScheduleFreeSGD else "beta1"
    params = parameters()
    optimizer = cls(params, lr=peak, **{name: beta}, **given, **decay)
    run(optimizer, params)
    evaluated = average(optimizer, params)
    for i, start in enumerate(parameters()):
        x = y = z = start.detach().numpy()
        v, total, largest = np.zeros_like(x), 0.0, 0.0
        for t in range(STEPS):
            g = gradient(t, i, SHAPES[i])
            if cls is ScheduleFreeAdamW:
                v = 0.999 * v + 0.001 * g * g
                g = g / (np.sqrt(v / (1 - 0.999 ** (t + 1))) + 1e-8)
            rate_of_decay = rate(t) * decay.get("weight_decay", 0.0) / (peak if "decay" in decay else 1.0)
            z = z - rate(t) * g - rate_of_decay * y
            largest = max(largest, rate(t))
            weight = (t + 1) ** given.get("step_power", 0.0) * largest ** given.get("lr_power", 2.0)
            total += weight
            c = weight / total if total else 0.0
            x = (1 - c) * x + c * z
            y = (1 - beta) * z + beta * x
        np.testing.assert_allclose(params[i].detach().numpy(), y, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(evaluated[i], x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("warmup", [0, 25])
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("powers", [(0.0, 2.0), (0.5, 1.0)])
@pytest.mark.parametrize("cls", CLASSES)
def test_is_the_authors_own(cls: Any, powers: tuple[float, float], weight_decay: float, warmup: int) -> None:
    """With their own warmup too, whose rates the program would give."""
    authors = pytest.importorskip("schedulefree")
    mine, theirs = parameters(), parameters()
    own = {"weight_decay": weight_decay, "step_power": powers[0], "lr_power": powers[1]}
    other = {"weight_decay": weight_decay, "r": powers[0], "weight_lr_power": powers[1], "warmup_steps": warmup}
    if cls is ScheduleFreeSGD:
        own_settings, other_settings = {"momentum": 0.9}, {"momentum": 0.9}
        reference_cls = authors.SGDScheduleFree
    else:
        own_settings = {"beta1": 0.9, "beta2": 0.98, "epsilon": 1e-3}
        other_settings = {"betas": (0.9, 0.98), "eps": 1e-3}
        reference_cls = authors.AdamWScheduleFree

    def groups(params: list[Tensor]) -> list[dict[str, Any]]:
        return [{"params": params[:1]}, {"params": params[1:], "weight_decay": 0.0}]

    optimizer = cls(groups(mine), lr=0.02, **own, **own_settings)
    reference = reference_cls(groups(theirs), lr=0.02, **other, **other_settings)
    reference.train()
    for begin in (0, 100, 200):
        steps = range(begin, begin + 100)
        if warmup:
            run(optimizer, mine, steps, lambda t: 0.02 * min((t + 1) / warmup, 1.0))
            run(reference, theirs, steps, lambda t: 0.02)
        else:
            run(optimizer, mine, steps)
            run(reference, theirs, steps)
        for one, two in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
        reference.eval()
        for one, two in zip(average(optimizer, mine), theirs, strict=True):
            np.testing.assert_allclose(one, two.detach().numpy(), rtol=1e-12, atol=1e-12)
        reference.train()


@pytest.mark.parametrize("cls", CLASSES)
def test_being_evaluated_leaves_no_trace_and_an_error_within_neither(cls: Any) -> None:
    seldom, often = parameters(), parameters()
    run(cls(seldom, lr=0.1), seldom, range(20))
    optimizer = cls(often, lr=0.1)
    for t in range(20):
        before = average(optimizer, often)
        with pytest.raises(KeyError), evaluation_weights(optimizer):
            raise KeyError
        run(optimizer, often, range(t, t + 1))
    assert all(torch.equal(one, two) for one, two in zip(seldom, often, strict=True))
    assert not np.array_equal(before[0], often[0].detach().numpy())


@pytest.mark.parametrize("cls", CLASSES)
def test_saved_in_the_middle_it_goes_on_bit_for_bit(cls: Any) -> None:
    params = parameters()
    optimizer = cls(params, lr=0.1, weight_decay=0.1)
    run(optimizer, params, range(20))
    file = io.BytesIO()
    torch.save({"params": params, "optimizer": optimizer.state_dict()}, file)
    run(optimizer, params, range(20, 40))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed_params = saved["params"]
    resumed = cls(resumed_params, lr=0.5)
    resumed.load_state_dict(saved["optimizer"])
    run(resumed, resumed_params, range(20, 40))
    assert all(torch.equal(one, two) for one, two in zip(params, resumed_params, strict=True))
    for one, two in zip(average(optimizer, params), average(resumed, resumed_params), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("cls", CLASSES)
def test_hyperparameters_as_tensors_give_the_same_as_numbers(cls: Any) -> None:
    results = []
    for as_rate in (float, lambda value: torch.tensor(float(value), dtype=torch.float64)):
        params = parameters()
        optimizer = cls(params, lr=0.1, weight_decay=0.1)
        for group in optimizer.param_groups:
            for name in optimizer.defaults:
                group[name] = as_rate(group[name])
        run(optimizer, params, range(30), lambda t, convert=as_rate: convert(rate(t)))
        results.append([*params, *map(torch.tensor, average(optimizer, params))])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)
