"""μP against the shapes of the network at its base width, which the models do not look at."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from playbook.errors import InputError
from playbook.models import CNN, MLP, Transformer, VisionTransformer, WideResNet
from playbook.models.attention import SelfAttention, Visibility
from playbook.models.parametrization import WidthGrowth
from playbook.optim import SGD, Adam, Muon, RMSProp, ScheduleFreeAdamW, ScheduleFreeSGD, parameter_groups
from playbook.optim.base import Optimizer
from playbook.optim.groups import named_parameters

TEXT = {"input_shape": (8,), "num_outputs": 11, "vocab_size": 11, "depth": 2, "heads": 2}
IMAGE = {"input_shape": (2, 8, 8), "num_outputs": 5}
FAMILIES: dict[str, tuple[type[nn.Module], dict[str, Any], int]] = {
    "mlp": (MLP, {**IMAGE, "depth": 3, "norm": "layer", "activation": "tanh"}, 32),
    "mlp-residual": (MLP, {**IMAGE, "depth": 3, "norm": "batch", "residual": True, "residual_init": "zero"}, 32),
    "mlp-post": (MLP, {**IMAGE, "depth": 3, "norm": "layer", "residual": True, "norm_placement": "post"}, 32),
    "cnn": (CNN, {**IMAGE, "depth": 2, "stages": 2}, 8),
    "wide_resnet": (WideResNet, {**IMAGE, "depth": 10}, 2),
    "wide_resnet-post": (WideResNet, {**IMAGE, "depth": 10, "norm_placement": "post"}, 2),
    "vit": (VisionTransformer, {**IMAGE, "depth": 2, "heads": 2, "residual_init": "zero"}, 16),
    "tied": (Transformer, {**TEXT, "positions": "learned"}, 16),
    "untied": (Transformer, {**TEXT, "tied_embeddings": False, "norm_placement": "post"}, 16),
}
GROWTH = 4


def made(family: str, times: int = GROWTH, **keys: Any) -> nn.Module:
    """The model `times` as wide as its base width."""
    cls, own, base = FAMILIES[family]
    torch.manual_seed(0)
    return cls(**{**own, "width": times * base, "parametrization": "mup", "base_width": base, **keys})


def fans(name: str, param: torch.Tensor) -> tuple[int, int]:
    """Inputs and outputs: an embedding has its table's rows and columns, a bias or a norm no inputs."""
    if param.ndim < 2:
        return 1, param.numel()
    inputs, outputs = math.prod(param.shape[1:]), param.shape[0]
    return (
        (outputs, inputs)
        if name.endswith(("token_embedding.weight", "position_embedding", "position_embedding.weight"))
        else (inputs, outputs)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_at_its_base_width_it_is_the_standard_network_to_the_bit(family):
    mup, standard = made(family, 1), made(family, 1, parametrization="standard")
    assert all(torch.equal(a, b) for a, b in zip(mup.parameters(), standard.parameters(), strict=True))
    assert [set(group) for group in parameter_groups(mup)] == [set(group) for group in parameter_groups(standard)]
    assert not any("param_growth" in group for group in parameter_groups(mup))
    inputs = torch.randint(11, (4, 8)) if family in ("tied", "untied") else torch.randn(4, 2, 8, 8)
    assert torch.equal(mup(inputs), standard(inputs))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_says_how_its_shape_has_grown(family):
    wide, base = made(family), dict(made(family, 1).named_parameters())
    for each in named_parameters(wide):
        now, before = fans(each.name, each.param), fans(each.name, base[each.name])
        assert each.growth == (now[0] / before[0], now[1] / before[1]), each.name
    standard = named_parameters(made(family, parametrization="standard"))
    assert {each.growth for each in standard} == {(1.0, 1.0)}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_begin_as_table_3_has_them(family):
    """Of the standard deviation at the base width: all of it, 1/√growth in the middle, 1/growth in the last layer."""
    wide, base = dict(made(family).named_parameters()), dict(made(family, 1).named_parameters())
    for name, param in wide.items():
        now, before = fans(name, param), fans(name, base[name])
        if param.ndim < 2 or base[name].numel() < 100:
            continue
        inputs, outputs = now[0] / before[0], now[1] / before[1]
        wanted = 1.0 if inputs == 1 else 1 / inputs if outputs == 1 else inputs**-0.5
        ratio = float(param.detach().std() / base[name].detach().std())
        assert ratio == pytest.approx(wanted, rel=4 / math.sqrt(2 * base[name].numel())), name


def rates(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    names = {id(param): name for name, param in model.named_parameters()}
    return {names[id(param)]: group["lr"] for group in optimizer.param_groups for param in group["params"]}


@pytest.mark.parametrize(
    ("cls", "given", "stem", "hidden", "head", "bias", "last_bias"),
    [
        (SGD, {}, 4.0, 1.0, 0.25, 4.0, 1.0),
        (ScheduleFreeSGD, {}, 4.0, 1.0, 0.25, 4.0, 1.0),
        (Adam, {}, 1.0, 0.25, 0.25, 1.0, 1.0),
        (RMSProp, {}, 1.0, 0.25, 0.25, 1.0, 1.0),
        (ScheduleFreeAdamW, {}, 1.0, 0.25, 0.25, 1.0, 1.0),
        (Muon, {"adamw_lr": 0.5}, 1.0, 1.0, 0.25, 1.0, 1.0),
        (Muon, {"adamw_lr": 0.5, "match_rms": "adamw"}, 1.0, 0.5, 0.25, 1.0, 1.0),
    ],
)
def test_shares_of_the_rate_are_those_of_table_3(cls, given, stem, hidden, head, bias, last_bias):
    """And of an orthogonalised matrix what keeps its spectral norm at √(outputs / inputs)."""
    model = made("mlp", norm="none")
    found = rates(model, cls(parameter_groups(model), lr=0.5, **given))
    wanted = {"stem.1.weight": stem, "blocks.0.branch.2.weight": hidden, "blocks.1.branch.2.weight": hidden}
    wanted |= {"head.3.weight": head, "head.3.bias": last_bias}
    wanted |= {name: bias for name in found if name.endswith("bias") and name != "head.3.bias"}
    assert {name: rate / 0.5 for name, rate in found.items()} == wanted


@pytest.mark.parametrize(("decay", "kept"), [("lr", 1 - 0.5 * 0.1), ("independent", 1 - 0.1)])
@pytest.mark.parametrize("cls", [SGD, Adam])
def test_what_decays_in_a_step_does_not_depend_on_the_width(cls, decay, kept):
    model = made("mlp")
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    optimizer = cls(parameter_groups(model), lr=0.5, weight_decay=0.1, decay=decay)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)
    optimizer.step()
    for name, param in model.named_parameters():
        torch.testing.assert_close(param.detach(), before[name] * (kept if param.ndim > 1 else 1.0))


def test_lr_scales_multiply_the_shares():
    model = made("mlp", norm="none")
    optimizer = Adam(parameter_groups(model, lr=0.5, lr_scales={"head": 3.0}), lr=0.5)
    found = rates(model, optimizer)
    assert (found["head.3.weight"], found["head.3.bias"], found["stem.1.weight"]) == (0.375, 1.5, 0.5)


def test_attention_divides_by_what_its_features_have_grown():
    """Definition 4.1 of the paper: products of queries and keys over d, times √d of the base."""
    attention = SelfAttention(
        32, 2, dropout=0.0, attention_dropout=0.0, output_std=0.5, growth=WidthGrowth(4.0)
    ).double()
    inputs = torch.randn(3, 5, 32, dtype=torch.float64)
    query, key, value = (part.unflatten(-1, (2, 16)).transpose(1, 2) for part in attention.qkv(inputs).chunk(3, -1))
    weights = torch.softmax(query @ key.transpose(2, 3) * math.sqrt(4) / 16, -1)
    expected = attention.output((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(inputs, Visibility(causal=False)), expected)


def test_a_tied_output_is_divided_by_the_growth():
    mup, standard = made("tied", heads=1), made("tied", heads=1, parametrization="standard")
    standard.load_state_dict(mup.state_dict())
    for model in (mup, standard):
        for layer in model.blocks.layers:
            nn.init.zeros_(layer["attention"].branch.qkv.weight)  # so that the scale of attention does not matter
    tokens = torch.randint(11, (2, 8))
    torch.testing.assert_close(mup(tokens) * GROWTH, standard(tokens))


def test_without_a_base_width_it_is_refused():
    with pytest.raises(ValueError, match=r"^model\.parametrization=mup needs model\.base_width.*model\.base_width=128"):
        made("mlp", base_width=None)


def test_a_rule_that_does_not_say_how_its_steps_grow_is_refused():
    class Mine(Optimizer):
        pass

    model = made("mlp")
    with pytest.raises(InputError, match=r"^model\.parametrization=mup: Mine does not say"):
        Mine(parameter_groups(model), {"lr": 0.1, "weight_decay": 0.0})
    Mine(parameter_groups(made("mlp", 1)), {"lr": 0.1, "weight_decay": 0.0})
