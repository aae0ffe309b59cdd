"""Muon against torch's for matrices and torch's AdamW for the rest, and which parameter is which."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch
from torch import nn

from playbook.errors import InputError
from playbook.optim import Muon, parameter_groups, rules

STEPS = 200


class Net(nn.Module):
    """An embedding, two hidden matrices (wide and tall), a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 6)
        self.wide = nn.Linear(6, 4)
        self.tall = nn.Linear(4, 9)
        self.norm = nn.LayerNorm(9)
        self.head = nn.Linear(9, 3)


def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().double()


def rate(t: int) -> float:
    return 0.02 * (1.5 + math.sin(t))


def shares(optimizer: torch.optim.Optimizer) -> list[float]:
    """The rates of a new optimizer's groups, which `run` scales as the program does."""
    return [group["lr"] for group in optimizer.param_groups]


def run(module: nn.Module, optimizers: dict[Any, list[float]], steps: range = range(STEPS)) -> None:
    """Steps on drawn gradients."""
    for t in steps:
        draw = torch.Generator().manual_seed(t)
        for param in module.parameters():
            param.grad = torch.randn(param.shape, generator=draw, dtype=param.dtype) * 10.0 ** (t % 3 - 1)
        for optimizer, given in optimizers.items():
            for group, share in zip(optimizer.param_groups, given, strict=True):
                group["lr"] = rate(t) * share
            optimizer.step()


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([param.detach().flatten() for param in module.parameters()])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"momentum": 0.8}, {"momentum": 0.8}),
        ({"nesterov": False}, {"nesterov": False}),
        ({"newton_schulz_steps": 3}, {"ns_steps": 3}),
        ({"match_rms": "adamw"}, {"adjust_lr_fn": "match_rms_adamw"}),
    ],
    ids=["default", "momentum", "plain", "steps", "match_rms"],
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_is_torchs_muon_for_matrices_and_its_adamw_for_the_rest(
    ours: dict[str, Any], theirs: dict[str, Any], weight_decay: float
) -> None:
    mine, reference = net(), net()
    groups = parameter_groups(mine, lr=1.0, lr_scales={"wide": 0.5})
    settings = {"adamw_lr": 0.25, "adamw_beta1": 0.8, "adamw_beta2": 0.97, "adamw_epsilon": 1e-3}
    optimizer = Muon(groups, lr=1.0, weight_decay=weight_decay, **settings, **ours)
    run(mine, {optimizer: shares(optimizer)})

    matrices = [{"params": [reference.tall.weight]}, {"params": [reference.wide.weight], "lr": 0.5}]
    vectors = [reference.wide.bias, reference.tall.bias, *reference.norm.parameters(), reference.head.bias]
    scaled = {"lr": 0.125, "weight_decay": 0.0, "params": [vectors.pop(0)]}
    rest = [
        {"params": [reference.embedding.weight, reference.head.weight], "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
        scaled,
    ]
    muon = torch.optim.Muon(matrices, lr=1.0, weight_decay=weight_decay, **theirs)
    adamw = torch.optim.AdamW(rest, lr=0.25, betas=(0.8, 0.97), eps=1e-3)
    run(reference, {muon: shares(muon), adamw: shares(adamw)})
    torch.testing.assert_close(weights(mine), weights(reference), rtol=1e-12, atol=1e-12)


def by_muon(optimizer: Muon) -> set[str]:
    return {name for group in optimizer.param_groups if group["rule"] == "muon" for name in group["param_names"]}


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, {"wide.weight", "tall.weight"}),
        ({"adamw": ("wide",)}, {"tall.weight"}),
        ({"adamw": ("matrix",)}, set()),
        ({"muon": ("head", "embedding.weight")}, {"wide.weight", "tall.weight", "head.weight", "embedding.weight"}),
        ({"muon": ("matrix",), "adamw": ("*ide.weight",)}, {"tall.weight"}),
    ],
)
def test_the_split_goes_by_role_and_by_name(named: dict[str, Any], expected: set[str]) -> None:
    module = net()
    optimizer = Muon(parameter_groups(module), lr=0.02, adamw_lr=0.5, **named)
    assert by_muon(optimizer) == expected
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(module.parameters()))
    for group in optimizer.param_groups:
        assert group["lr"] == pytest.approx(0.02 if group["rule"] == "muon" else 0.5)


def test_the_last_matrix_is_the_head_where_none_is_called_so() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    assert by_muon(Muon(parameter_groups(module), lr=0.02)) == {"0.weight", "1.weight"}


def test_a_name_that_selects_nothing_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(InputError, match=r"^optimizer\.adamw=hed: .*did you mean head\?.* wide\.weight.*roles matrix"):
        Muon(parameter_groups(net()), lr=0.02, adamw=("hed",))


def test_a_convolution_is_a_matrix_of_its_outputs_by_all_else() -> None:
    start = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    filters, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    run(nn.ParameterList([filters]), {Muon([filters], lr=1.0): [1.0]}, range(5))
    run(nn.ParameterList([matrix]), {Muon([matrix], lr=1.0): [1.0]}, range(5))
    assert torch.equal(filters.flatten(1), matrix)
    assert not torch.equal(filters, start)


@pytest.mark.parametrize("shape", [(8, 8), (4, 16), (16, 4)])
def test_what_is_orthogonalised_has_the_singular_vectors_and_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    matrix = u @ torch.diag(s.clamp(min=0.3)) @ v
    found = rules.orthogonalised(matrix, 5).float()
    inner = u.T @ found @ v.T
    assert inner.diagonal().min() > 0.6
    assert inner.diagonal().max() < 1.3
    assert (inner - torch.diag(inner.diagonal())).abs().max() < 0.05


def test_saved_in_the_middle_it_goes_on_bit_for_bit() -> None:
    module, other = net(), net()
    optimizer = Muon(parameter_groups(module), lr=1.0, weight_decay=0.1)
    given = shares(optimizer)
    run(module, {optimizer: given}, range(20))
    file = io.BytesIO()
    torch.save([module.state_dict(), optimizer.state_dict()], file)
    run(module, {optimizer: given}, range(20, 30))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = Muon(parameter_groups(other), lr=1.0, weight_decay=0.1)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    run(other, {resumed: given}, range(20, 30))
    assert torch.equal(weights(module), weights(other))


def test_hyperparameters_as_tensors_give_the_same_as_numbers() -> None:
    results = []
    for convert in (float, lambda value: torch.tensor(float(value), dtype=torch.float64)):
        module = net()
        optimizer = Muon(parameter_groups(module), lr=0.02, weight_decay=0.1)
        for group in optimizer.param_groups:
            for name in optimizer.defaults:
                group[name] = convert(group[name])
        for t in range(3):
            for param in module.parameters():
                param.grad = torch.full_like(param, 1.0 + t).tril() if param.ndim == 2 else torch.ones_like(param)
            optimizer.step()
        results.append(weights(module))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)
