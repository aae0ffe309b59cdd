"""The optimizers against a float64 numpy transcription of the playbook's update rules, and against torch's own."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from playbook.optim import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp, rules

STEPS = 100
SHAPES = [(3, 4), (5,), (), (2, 1, 3)]
Array = np.ndarray


def rate(t: int) -> float:
    """A rate that changes at every step, so that it matters which rate an old gradient was multiplied by."""
    return 0.02 * (1.5 + math.sin(t))


def gradient(t: int, which: int, shape: tuple[int, ...]) -> Array:
    """Gradients of changing sign and scale, small ones too."""
    return np.random.default_rng([t, which]).normal(size=shape) * 10.0 ** ((t + which) % 4 - 2)


def start(which: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng([999, which]).normal(size=shape)


# One step of one parameter x with gradient g, as row E9 writes it. `s` is the state, t counts from 1.
def sgd(x: Array, g: Array, s: dict[str, Array], lr: float, t: int) -> Array:
    return x - lr * g


def momentum(x: Array, g: Array, s: dict[str, Array], lr: float, t: int, momentum: float = 0.9) -> Array:
    s["v"] = momentum * s.get("v", 0.0) + g
    return x - lr * s["v"]


def nesterov(x: Array, g: Array, s: dict[str, Array], lr: float, t: int, momentum: float = 0.9) -> Array:
    s["v"] = momentum * s.get("v", 0.0) + g
    return x - lr * (momentum * s["v"] + g)


def rmsprop(
    x: Array,
    g: Array,
    s: dict[str, Array],
    lr: float,
    t: int,
    rho: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-10,
) -> Array:
    s["v"] = rho * s.get("v", 1.0) + (1 - rho) * g**2
    s["m"] = momentum * s.get("m", 0.0) + lr * g / np.sqrt(s["v"] + epsilon)
    return x - s["m"]


def moments(g: Array, s: dict[str, Array], beta1: float, beta2: float) -> None:
    s["m"] = beta1 * s.get("m", 0.0) + (1 - beta1) * g
    s["v"] = beta2 * s.get("v", 0.0) + (1 - beta2) * g**2


def adam(
    x: Array,
    g: Array,
    s: dict[str, Array],
    lr: float,
    t: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Array:
    moments(g, s, beta1, beta2)
    b = np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - lr * s["m"] / (np.sqrt(s["v"]) + epsilon) * b


def nadam(
    x: Array,
    g: Array,
    s: dict[str, Array],
    lr: float,
    t: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Array:
    moments(g, s, beta1, beta2)
    b = np.sqrt(1 - beta2**t) / (1 - beta1**t)
    return x - lr * (beta1 * s["m"] + (1 - beta1) * g) / (np.sqrt(s["v"]) + epsilon) * b


def adamw(
    x: Array,
    g: Array,
    s: dict[str, Array],
    lr: float,
    t: int,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Array:
    moments(g, s, beta1, beta2)
    return x - lr * (s["m"] / (1 - beta1**t)) / (np.sqrt(s["v"] / (1 - beta2**t)) + epsilon)


CASES: list[tuple[type[torch.optim.Optimizer], Callable[..., Array], dict[str, float]]] = [
    (SGD, sgd, {}),
    (Momentum, momentum, {}),
    (Momentum, momentum, {"momentum": 0.5}),
    (Nesterov, nesterov, {}),
    (Nesterov, nesterov, {"momentum": 0.99}),
    (RMSProp, rmsprop, {}),
    (RMSProp, rmsprop, {"rho": 0.7, "momentum": 0.8, "epsilon": 0.1}),
    (RMSProp, rmsprop, {"momentum": 0.9, "epsilon": 1.0}),
    (Adam, adam, {}),
    (Adam, adam, {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.1}),
    (Adam, adam, {"beta1": 0.0, "epsilon": 1.0}),
    (NAdam, nadam, {}),
    (NAdam, nadam, {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.1}),
    (NAdam, nadam, {"epsilon": 1.0}),
    (AdamW, adamw, {}),
    (AdamW, adamw, {"beta1": 0.8, "beta2": 0.95, "epsilon": 0.1}),
    (AdamW, adamw, {"epsilon": 1.0}),
]
CASE_IDS = ["-".join([cls.__name__, *(f"{name}={value}" for name, value in given.items())]) for cls, _, given in CASES]
ONE_OF_EACH = {case[0].__name__: case for case in CASES}.values()  # the last case of each, with its large epsilon


def parameters(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(start(i, shape), dtype=dtype, requires_grad=True) for i, shape in enumerate(SHAPES)]


def run(optimizer: torch.optim.Optimizer, params: list[Tensor], steps: range = range(STEPS)) -> None:
    for t in steps:
        for i, param in enumerate(params):
            param.grad = torch.tensor(gradient(t, i, SHAPES[i]), dtype=param.dtype)
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        optimizer.step()


def relative_error(given: list[Tensor], expected: list[Array]) -> float:
    difference = sum(float(((g.detach().numpy() - e) ** 2).sum()) for g, e in zip(given, expected, strict=True))
    return math.sqrt(difference / sum(float((e**2).sum()) for e in expected))


def as_arrays(tensors: list[Tensor]) -> list[Array]:
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("cls", "reference", "given"), CASES, ids=CASE_IDS)
def test_follows_the_written_rule(
    cls: Any,
    reference: Callable[..., Array],
    given: dict[str, float],
    dtype: torch.dtype,
    tolerance: float,
    weight_decay: float,
) -> None:
    expected = []
    for i, shape in enumerate(SHAPES):
        x = start(i, shape)
        state: dict[str, Array] = {}
        for t in range(STEPS):
            x = reference(x * (1 - rate(t) * weight_decay), gradient(t, i, shape), state, rate(t), t + 1, **given)
        expected.append(x)
    params = parameters(dtype)
    run(cls(params, lr=0.1, weight_decay=weight_decay, **given), params)
    assert relative_error(params, expected) < tolerance


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: SGD(p, lr=1), lambda p: torch.optim.SGD(p, lr=1)),
        (lambda p: Momentum(p, lr=1, momentum=0.8), lambda p: torch.optim.SGD(p, lr=1, momentum=0.8)),
        (
            lambda p: Nesterov(p, lr=1, momentum=0.8),
            lambda p: torch.optim.SGD(p, lr=1, momentum=0.8, nesterov=True),
        ),
        (
            lambda p: AdamW(p, lr=1, epsilon=0.1, weight_decay=0.2),
            lambda p: torch.optim.AdamW(p, lr=1, eps=0.1, weight_decay=0.2),
        ),
        (lambda p: AdamW(p, lr=1, epsilon=0.1), lambda p: torch.optim.Adam(p, lr=1, eps=0.1)),
    ],
    ids=["SGD", "Momentum", "Nesterov", "AdamW", "AdamW-without-decay-is-torch-Adam"],
)
def test_equals_torch_where_the_rule_is_the_same(ours: Any, theirs: Any) -> None:
    mine, reference = parameters(), parameters()
    run(ours(mine), mine)
    run(theirs(reference), reference)
    assert relative_error(mine, as_arrays(reference)) < 1e-13


def after_one_step(optimizer: Any, grad: float, **given: Any) -> float:
    """How far a parameter at 0 goes in its first step at lr 1."""
    x = torch.zeros((), dtype=torch.float64, requires_grad=True)
    x.grad = torch.tensor(grad, dtype=torch.float64)
    optimizer([x], lr=1.0, **given).step()
    return -x.item()


def test_rmsprop_begins_at_one_with_epsilon_inside_where_torch_begins_at_zero_with_epsilon_outside() -> None:
    g, rho, epsilon = 0.5, 0.9, 0.1
    ours = after_one_step(RMSProp, g, rho=rho, epsilon=epsilon)
    torchs = after_one_step(torch.optim.RMSprop, g, alpha=rho, eps=epsilon)
    assert ours == pytest.approx(g / math.sqrt(rho + (1 - rho) * g * g + epsilon), rel=1e-12)
    assert torchs == pytest.approx(g / (math.sqrt((1 - rho) * g * g) + epsilon), rel=1e-12)
    assert torchs > 3 * ours


def test_adam_adds_epsilon_before_the_correction_where_torch_adds_it_after() -> None:
    g, epsilon = 0.5, 0.1
    assert after_one_step(Adam, g, epsilon=epsilon) == pytest.approx(
        g / (g + epsilon / math.sqrt(1 - 0.999)), rel=1e-12
    )
    assert after_one_step(torch.optim.Adam, g, eps=epsilon) == pytest.approx(g / (g + epsilon), rel=1e-12)


def test_nadam_has_no_momentum_schedule_where_torch_has_one() -> None:
    g, beta1 = 0.5, 0.9
    ours = after_one_step(NAdam, g, beta1=beta1, epsilon=1e-30)
    torchs = after_one_step(torch.optim.NAdam, g, betas=(beta1, 0.999), eps=1e-30)
    mu_1, mu_2 = (beta1 * (1 - 0.5 * 0.96 ** (t * 0.004)) for t in (1, 2))
    assert ours == pytest.approx((beta1 * (1 - beta1) + 1 - beta1) / (1 - beta1), rel=1e-12)
    # torch keeps the product of its μ in float32
    assert torchs == pytest.approx(1 + mu_2 * (1 - beta1) / (1 - mu_1 * mu_2), rel=1e-6)
    assert abs(ours - torchs) > 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("cls", "_", "given"), ONE_OF_EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_saved_in_the_middle_it_goes_on_bit_for_bit(cls: Any, _: Any, given: dict[str, float], dtype: Any) -> None:
    params = parameters(dtype)
    optimizer = cls(params, lr=0.1, weight_decay=0.1, **given)
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

    for one, other in zip(params, resumed_params, strict=True):
        assert torch.equal(one, other)
        assert optimizer.state[one].keys() == resumed.state[other].keys()
        for name, value in optimizer.state[one].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed.state[other][name]))


@pytest.mark.parametrize(("cls", "reference", "given"), ONE_OF_EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_a_parameter_without_gradients_is_untouched_and_begins_its_own_count_later(
    cls: Any, reference: Callable[..., Array], given: dict[str, float]
) -> None:
    always, late = (torch.tensor(start(i, (4,)), requires_grad=True) for i in (0, 1))
    optimizer = cls([always, late], lr=0.1, weight_decay=0.1, **given)
    expected = start(1, (4,))
    state: dict[str, Array] = {}
    for t in range(12):
        always.grad = torch.tensor(gradient(t, 0, (4,)))
        late.grad = None
        if t >= 5:
            g = gradient(t, 1, (4,))
            late.grad = torch.tensor(g)
            expected = reference(expected * (1 - 0.1 * 0.1), g, state, 0.1, t - 4, **given)
        optimizer.step()
        if t < 5:
            assert torch.equal(late.detach(), torch.tensor(start(1, (4,))))
            assert not optimizer.state[late]
    np.testing.assert_allclose(late.detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(("cls", "_", "given"), ONE_OF_EACH, ids=lambda value: getattr(value, "__name__", ""))
def test_hyperparameters_as_tensors_give_the_same_as_numbers(cls: Any, _: Any, given: dict[str, float]) -> None:
    with_numbers, with_tensors = parameters(), parameters()
    run(cls(with_numbers, lr=0.1, weight_decay=0.1, **given), with_numbers)
    optimizer = cls(with_tensors, lr=0.1, weight_decay=0.1, **given)
    group = optimizer.param_groups[0]
    for t in range(STEPS):
        for i, param in enumerate(with_tensors):
            param.grad = torch.tensor(gradient(t, i, SHAPES[i]))
        group["lr"] = rate(t)
        for name in optimizer.defaults:
            group[name] = torch.tensor(float(group[name]), dtype=torch.float64)
        optimizer.step()
    assert relative_error(with_tensors, as_arrays(with_numbers)) < 1e-12


@pytest.mark.parametrize("rule", [rules.adam, rules.nadam, rules.adam_corrected_epsilon])
def test_the_count_of_updates_may_be_a_tensor(rule: Any) -> None:
    results = []
    for as_step in (int, lambda t: torch.tensor(t, dtype=torch.float64)):
        x, m, v = ([torch.full((3,), value, dtype=torch.float64)] for value in (1.0, 0.0, 0.0))
        for t in range(1, 10):
            grads = [torch.tensor(gradient(t, 0, (3,)))]
            rule(x, grads, m, v, lr=0.1, beta1=0.9, beta2=0.99, epsilon=0.1, step=as_step(t))
        results.append(x[0])
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)


def test_parameters_of_two_precisions_are_each_updated_in_their_own() -> None:
    mixed = [parameters(torch.float32)[0], parameters(torch.float64)[1]]
    run(Adam(mixed, lr=0.1), mixed)
    for i, param in enumerate(mixed):
        alone = [parameters(param.dtype)[j] for j in range(i + 1)]
        run(Adam(alone, lr=0.1), alone)
        assert torch.equal(param, alone[i])


def test_the_closure_runs_with_gradients_and_its_loss_is_returned() -> None:
    x = torch.tensor([3.0], requires_grad=True)
    optimizer = SGD([x], lr=0.5)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (x**2).sum()
        torch.autograd.backward(loss)
        return loss.item()

    with torch.no_grad():
        assert optimizer.step(closure) == 9.0
    assert x.item() == 0.0


def test_groups_keep_their_own_rate() -> None:
    slow, fast = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    slow.grad, fast.grad = torch.ones(3), torch.ones(3)
    groups: list[dict[str, Any]] = [{"params": [slow], "lr": 0.25}, {"params": [fast]}]
    SGD(groups, lr=1.0).step()
    assert slow.tolist() == [-0.25] * 3
    assert fast.tolist() == [-1.0] * 3
