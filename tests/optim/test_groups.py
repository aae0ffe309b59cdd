"""Weight decay leaves normalisation parameters and biases alone, unless told otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from playbook.errors import InputError
from playbook.optim import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp, parameter_groups
from playbook.optim.groups import layers, named_parameters

OURS = [SGD, Momentum, Nesterov, RMSProp, Adam, NAdam, AdamW]


class Scale(nn.Module):
    """A fork's own normalisation layer: a vector, of a class that nobody here knows."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 4)
        self.convolution = nn.Conv2d(3, 4, 3)
        self.batch_norm = nn.BatchNorm2d(4)
        self.image_norm = nn.LayerNorm((4, 6, 6))
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.rms_norm = nn.RMSNorm((2, 2))
        self.own_norm = Scale()
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embedding.weight  # tied


DECAYED = {"embedding.weight", "convolution.weight", "attention.in_proj_weight", "attention.out_proj.weight"}


@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
@pytest.mark.parametrize("cls", [*OURS, torch.optim.AdamW])
def test_only_weights_decay(cls: Any, decay_norm_and_bias: bool) -> None:
    net = Net()
    given = {"decay_norm_and_bias": decay_norm_and_bias} if cls in OURS else {}
    optimizer = cls(parameter_groups(net), lr=0.5, weight_decay=0.5, **given)
    before = {}
    for name, param in net.named_parameters():
        nn.init.ones_(param)
        param.grad = torch.zeros_like(param)
        before[name] = param.detach().clone()
    optimizer.step()
    decayed = set()
    for name, param in net.named_parameters():
        assert torch.equal(param, before[name]) or torch.equal(param, before[name] * 0.75)
        if not torch.equal(param, before[name]):
            decayed.add(name)
    assert decayed == (set(before) if given.get("decay_norm_and_bias") else DECAYED)


def test_every_parameter_is_in_one_group() -> None:
    net = Net()
    listed = [id(param) for group in parameter_groups(net) for param in group["params"]]
    assert sorted(listed) == sorted(id(param) for param in net.parameters())


def test_a_group_without_parameters_is_left_out() -> None:
    assert len(parameter_groups(nn.Linear(2, 2, bias=False))) == 1
    assert len(parameter_groups(nn.BatchNorm1d(2))) == 1


def rates(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(param): name for name, param in net.named_parameters()}
    return {names[id(param)]: group["lr"] for group in optimizer.param_groups for param in group["params"]}


@pytest.mark.parametrize(
    ("lr_scales", "expected"),
    [
        ({"head": 10}, {"head.bias": 10.0}),
        ({"embedding": 0.5, "head.bias": 4.0}, {"embedding.weight": 0.5, "head.bias": 4.0}),
        ({"attention": {"out_proj": {"weight": 3}}}, {"attention.out_proj.weight": 3.0}),
        ({"*proj*": 2.0, "attention.out_proj": 3.0}, {"out_proj": 6.0, "in_proj_weight": 2.0, "in_proj_bias": 2.0}),
        ({"matrix": 0.25}, {"convolution.weight": 0.25, "in_proj_weight": 0.25, "out_proj.weight": 0.25}),
    ],
    ids=["module", "parameter", "names-within-names", "pattern-and-product", "role"],
)
@pytest.mark.parametrize("cls", [AdamW, torch.optim.AdamW])
def test_lr_scales_are_shares_of_the_rate(cls: Any, lr_scales: dict[str, Any], expected: dict[str, float]) -> None:
    net = Net()
    optimizer = cls(parameter_groups(net, lr=0.5, lr_scales=lr_scales), lr=0.5)
    found = rates(net, optimizer)
    assert set(found) == {name for name, _ in net.named_parameters()}
    scaled = {name: rate / 0.5 for name, rate in found.items() if rate != 0.5}
    wanted = {name: scale for name, _ in net.named_parameters() for part, scale in expected.items() if part in name}
    assert scaled == pytest.approx(wanted)


def test_the_head_is_known_by_its_name_or_its_place() -> None:
    def roles(module: nn.Module) -> dict[str, str]:
        return {each.name: each.role for each in named_parameters(module)}

    assert roles(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == {
        **{"0.weight": "matrix", "0.bias": "vector"},
        **{"1.weight": "head", "1.bias": "vector"},
    }
    tied = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2, bias=False), nn.Linear(2, 3, bias=False))
    tied[2].weight = tied[0].weight
    assert roles(tied) == {"0.weight": "embedding", "1.weight": "matrix"}
    assert roles(Net())["image_norm.weight"] == "vector"


def test_scaled_groups_keep_their_exemption_from_decay() -> None:
    groups = parameter_groups(Net(), lr=0.1, lr_scales={"attention": 2.0})
    assert [(group.get("lr"), group.get("weight_decay")) for group in groups] == [
        (None, None),
        (None, 0.0),
        (0.2, None),
        (0.2, 0.0),
    ]


def test_a_name_without_parameters_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"^lr_scales\.hed=3\.0: .*did you mean head\?.*embedding\.weight.*roles"):
        parameter_groups(Net(), lr=0.1, lr_scales={"hed": 3})


def test_layer_decay_is_the_share_of_each_layer_in_the_next() -> None:
    net = nn.Sequential()
    net.add_module("embed", nn.Linear(2, 2))
    net.add_module("pair", nn.Sequential(nn.Linear(2, 2), nn.Tanh()))
    net.add_module("blocks", nn.Sequential(*(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)) for _ in range(3))))
    net.add_module("norm", nn.LayerNorm(2))
    net.add_module("head", nn.Linear(2, 2))
    given = {"layer_decay": 0.5, "head": 3.0}
    found = rates(net, AdamW(parameter_groups(net, lr=1.0, lr_scales=given), lr=1.0))
    assert found == {
        name: {"embed": 1 / 16, "pair": 1 / 16, "norm": 1.0, "head": 3.0}.get(
            name.split(".")[0], 0.5 ** (3 - int(name.split(".")[1])) if name.startswith("blocks") else 0.0
        )
        for name, _ in net.named_parameters()
    }
    assert layers(["stem.weight", "stem.bias", "middle.0.weight", "head.weight"]) == [0, 0, 1, 2]
    assert layers(["0.weight", "0.bias", "2.weight"]) == [1, 1, 2]


@pytest.mark.parametrize("share", [0, -1.0, "a", True, None, float("inf")])
def test_a_share_is_a_positive_number(share: Any) -> None:
    with pytest.raises(InputError, match=r"^lr_scales\.head\.bias=.*: allowed is a finite number > 0"):
        parameter_groups(Net(), lr=0.1, lr_scales={"head": {"bias": share}})
