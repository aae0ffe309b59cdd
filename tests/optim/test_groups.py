"""Weight decay leaves normalisation parameters and biases alone, unless told otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from playbook.optim import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp, parameter_groups

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
