from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from playbook.models import CNN, MLP, WideResNet

torch.set_num_threads(1)

NORMS = ("none", "batch", "ghost_batch", "layer", "group")
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
PLACEMENTS = (  # residual, norm_placement, residual_init
    (False, "pre", "default"),
    (True, "pre", "default"),
    (True, "pre", "zero"),
    (True, "post", "default"),
    (True, "post", "zero"),
)
SIZES = {
    MLP: {"width": 24, "depth": 3},
    CNN: {"width": 8, "depth": 3, "stages": 2},
    WideResNet: {"width": 1, "depth": 10},
}


def make(family, *, residual=True, seed=0, **keys):
    """A small model of `family` for 8x8 images of two channels and five outputs, in float64."""
    torch.manual_seed(seed)
    if family is not WideResNet:
        keys["residual"] = residual
    model = family(**{"input_shape": (2, 8, 8), "num_outputs": 5, **SIZES[family], **keys})
    return model.double()


def draw_inputs(num_examples=12, seed=1):
    return torch.randn(num_examples, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def num_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


GRID = [
    pytest.param(family, norm, activation, placement, id=f"{family.__name__}-{norm}-{activation}-{placement}")
    for family, norm, activation, placement in itertools.product(SIZES, NORMS, ACTIVATIONS, PLACEMENTS)
    if family is not WideResNet or placement[0]  # it has no `residual` to switch off
]


@pytest.mark.parametrize(("family", "norm", "activation", "placement"), GRID)
def test_every_combination_trains_every_parameter(family, norm, activation, placement):
    residual, norm_placement, residual_init = placement
    model = make(
        family,
        norm=norm,
        norm_batch_size=4,
        activation=activation,
        residual=residual,
        norm_placement=norm_placement,
        residual_init=residual_init,
    )
    outputs = model(draw_inputs())
    assert outputs.shape == (12, 5)
    # a fixed random direction: a plain sum would be blind to what normalisation makes constant
    outputs.backward(torch.randn(12, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
    scaled = set()
    for block in model.blocks:
        if block.branch_scale is not None:
            scaled |= set(block.branch.parameters())
            scaled |= set(block.norm.parameters()) if norm_placement == "pre" else set()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # a branch multiplied by 0 gets no gradient until its scale has moved; everything else does at once
        assert (parameter.grad.abs().max() > 0) == (parameter not in scaled), name
    assert bool(scaled) == (residual_init == "zero")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("family", SIZES)
def test_zero_initialised_branches_contribute_exactly_nothing(family, norm_placement, norm):
    model = make(family, norm=norm, norm_batch_size=4, norm_placement=norm_placement, residual_init="zero")
    x = model.stem(draw_inputs())
    for block in model.blocks:
        if block.shortcut is None:  # the CNN's change of stage has no branch to silence
            x = block(x)
        else:
            x = block.shortcut(x) if norm_placement == "pre" else block.norm(block.shortcut(x))
    torch.testing.assert_close(model.head(x), model(draw_inputs()), rtol=0, atol=0)


def test_zero_initialised_trunk_is_the_identity_at_any_depth():
    for depth in (2, 5, 30):
        model = make(MLP, depth=depth, norm="layer", residual_init="zero")
        x = model.stem(draw_inputs())
        assert torch.equal(model.blocks(x), x)
    # and not because the branches are silent by themselves
    for block in model.blocks:
        torch.nn.init.ones_(block.branch_scale)
    assert not torch.allclose(model.blocks(x), x)


@pytest.mark.parametrize(("residual", "norm_placement"), [(False, "pre"), (True, "pre"), (True, "post")])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_mlp_is_its_formula(residual, norm_placement, activation):
    model = make(MLP, norm="layer", residual=residual, norm_placement=norm_placement, activation=activation)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            if parameter.ndim == 1:  # norms and biases away from their 1 and 0
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
    matrices = [p.detach().numpy() for p in model.parameters() if p.ndim == 2]
    norms = iter(m for m in model.modules() if isinstance(m, torch.nn.LayerNorm))

    def normalise(x):
        norm = next(norms)
        z = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return z * norm.weight.detach().numpy() + norm.bias.detach().numpy()

    def activate(x):
        return np.maximum(x, 0) if activation == "relu" else np.tanh(x)

    x = draw_inputs().numpy().reshape(12, -1) @ matrices[0].T
    if norm_placement == "post":
        x = normalise(x)
    for matrix in matrices[1:-1]:
        if not residual:
            x = activate(normalise(x)) @ matrix.T
        elif norm_placement == "pre":
            x = x + activate(normalise(x)) @ matrix.T
        else:
            x = normalise(x + activate(x) @ matrix.T)
    if norm_placement == "pre":
        x = normalise(x)
    expected = activate(x) @ matrices[-1].T + model.head[-1].bias.detach().numpy()
    np.testing.assert_allclose(model(draw_inputs()).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm_placement", ["pre", "post"])
@pytest.mark.parametrize("family", [CNN, WideResNet])
def test_convolutional_families_are_their_formula(family, norm_placement):
    model = make(family, norm="layer", norm_placement=norm_placement)
    kernels = iter([p for p in model.parameters() if p.ndim == 4 and p.shape[-1] == 3])
    projections = iter([p for p in model.parameters() if p.ndim == 4 and p.shape[-1] == 1])

    def conv(x, stride=1):
        return F.conv2d(x, next(kernels), stride=stride, padding=1)

    def normalise(x):
        mean, var = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), keepdim=True, correction=0)
        return (x - mean) / (var + 1e-5).sqrt()

    def single_branch(x, stride):
        return conv(x.relu(), stride)

    def wide_branch(x, stride):
        return conv(normalise(conv(x.relu(), stride)).relu())

    # per block: its stride, and its shortcut (None, the identity, or a projection)
    if family is CNN:
        branch = single_branch
        plan = [(1, "identity"), (1, "identity"), (2, None), (1, "identity"), (1, "identity")]
    else:
        branch = wide_branch
        plan = [(1, "identity"), (2, "projection"), (2, "projection")]

    x = conv(draw_inputs())
    if norm_placement == "post":
        x = normalise(x)
    for stride, shortcut in plan:
        if shortcut == "identity":
            skipped = x
        elif shortcut == "projection":
            skipped = F.conv2d(x, next(projections), stride=stride)
        else:
            skipped = 0
        if norm_placement == "pre":
            x = skipped + branch(normalise(x), stride)
        else:
            x = normalise(skipped + branch(x, stride))
    if norm_placement == "pre":
        x = normalise(x)
    expected = x.relu().mean((2, 3)) @ model.head[-1].weight.T + model.head[-1].bias
    torch.testing.assert_close(model(draw_inputs()), expected)
    assert next(kernels, None) is None
    assert next(projections, None) is None


@pytest.mark.parametrize(
    ("depth", "width", "expected"),
    # counts that other implementations of the paper report for CIFAR-10
    [(16, 4, 2_748_890), (16, 8, 10_961_370), (28, 10, 36_479_194), (40, 2, 2_243_546)],
)
@pytest.mark.parametrize("norm_placement", ["pre", "post"])
def test_wide_resnet_has_the_papers_number_of_parameters(depth, width, expected, norm_placement):
    with torch.device("meta"):
        model = WideResNet(
            input_shape=(3, 32, 32), num_outputs=10, depth=depth, width=width, norm_placement=norm_placement
        )
    assert num_parameters(model) == expected


def test_known_numbers_of_parameters():
    mlp = MLP(input_shape=(1, 8, 8), num_outputs=10, width=128, depth=2)
    assert num_parameters(mlp) == (64 * 128 + 128) + (128 * 128 + 128) + (128 * 10 + 10)
    cnn = CNN(input_shape=(1, 28, 28), num_outputs=10, width=16, depth=2, stages=3, norm="none")
    channels = [(1, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    assert num_parameters(cnn) == sum(9 * a * b + b for a, b in channels) + 64 * 10 + 10
    # the norm's shift takes the place of the bias, and its scale is added
    normed = CNN(input_shape=(1, 28, 28), num_outputs=10, width=16, depth=2, stages=3, norm="batch")
    assert num_parameters(normed) - num_parameters(cnn) == sum(b for _, b in channels)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", [MLP, CNN])
def test_skips_and_placement_add_no_parameters(family, norm):
    plain = num_parameters(make(family, norm=norm, residual=False))
    assert num_parameters(make(family, norm=norm)) == plain
    assert num_parameters(make(family, norm=norm, norm_placement="post")) == plain


@pytest.mark.parametrize(
    ("keys", "sizes"),
    [
        ({}, [32, 16, 8]),
        ({"strides": [2, 2, 2]}, [16, 8, 4]),
        ({"strides": (1, 1, 1)}, [32, 32, 32]),
        ({"stem_stride": 2}, [16, 8, 4]),
    ],
)
def test_wide_resnet_strides(keys, sizes):
    model = WideResNet(input_shape=(3, 32, 32), num_outputs=10, width=1, depth=10, **keys)
    x = model.stem(torch.zeros(2, 3, 32, 32))
    for block, size in zip(model.blocks, sizes, strict=True):
        x = block(x)
        assert x.shape[2:] == (size, size)


def test_initialisation_is_the_one_stated():
    mlp = make(MLP, width=400, depth=3)
    first, *hidden, last = [p for p in mlp.parameters() if p.ndim == 2]
    for weight in (first, *hidden):
        assert weight.std().item() == pytest.approx(math.sqrt(2 / weight.shape[1]), rel=0.02)
    assert last.std().item() == pytest.approx(math.sqrt(2 / (400 + 5)), rel=0.05)
    assert all((p == 0).all() for p in mlp.parameters() if p.ndim == 1)

    tanh = make(MLP, width=400, depth=3, activation="tanh")
    assert tanh.blocks[0].branch[-1].weight.std().item() == pytest.approx(math.sqrt(2 / 800), rel=0.02)

    wide = make(WideResNet, width=4)
    branch, projection = wide.blocks[1].branch, wide.blocks[1].shortcut
    assert branch[1].weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert projection.weight.std().item() == pytest.approx(math.sqrt(2 / (64 + 128)), rel=0.03)


def test_signal_keeps_its_size_through_depth():
    mlp = make(MLP, width=500, depth=20, residual=False)
    x = mlp.stem(draw_inputs(64))
    ratio = mlp.blocks(x).square().mean() / x.square().mean()
    assert 0.3 < ratio < 3  # torch's default initialisation gives (1/6)^19


@pytest.mark.parametrize("family", SIZES)
def test_dropout_draws_from_the_default_generator_alone(family):
    model = make(family, norm="layer", dropout=0.5)
    inputs = draw_inputs()
    torch.manual_seed(7)
    first, second = model(inputs), model(inputs)
    torch.manual_seed(7)
    assert torch.equal(model(inputs), first)
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(inputs), model(inputs))


@pytest.mark.parametrize("family", SIZES)
def test_without_dropout_nothing_is_drawn(family):
    model = make(family, norm="batch")
    before = torch.get_rng_state()
    model(draw_inputs())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("norm", ["none", "layer", "ghost_batch"])
@pytest.mark.parametrize("family", SIZES)
def test_a_call_leaves_no_python_state(family, norm):
    model = make(family, norm=norm, norm_batch_size=4)

    def python_state():
        hidden = ("_parameters", "_buffers", "_modules")
        return [{k: copy.copy(v) for k, v in m.__dict__.items() if k not in hidden} for m in model.modules()]

    before = python_state()
    mine, others = draw_inputs(12), draw_inputs(9, seed=5)
    first = model(mine)
    model(others)
    assert torch.equal(model(mine), first)
    assert python_state() == before


@pytest.mark.parametrize("family", SIZES)
def test_input_shape_in_any_form(family):
    forms = [(2, 8, 8), [2, 8, 8], torch.Size([2, 8, 8]), np.array([2, 8, 8])]
    states = [make(family, input_shape=form).state_dict() for form in forms]
    for state in states[1:]:
        torch.testing.assert_close(state, states[0])


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (3, 4, 5, 6)])
def test_mlp_takes_any_shape(shape):
    model = MLP(input_shape=shape, num_outputs=3, width=4, depth=1)
    inputs = torch.randn(7, *shape)
    torch.testing.assert_close(model(inputs), MLP.forward(model, inputs.flatten(1)))
    assert model(inputs).shape == (7, 3)


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        (MLP, {"residual": False, "norm_placement": "post"}, r"model\.norm_placement=post needs model\.residual=true"),
        (CNN, {"residual": False, "norm_placement": "post"}, r"model\.norm_placement=post needs model\.residual=true"),
        (MLP, {"residual": False, "residual_init": "zero"}, r"model\.residual_init=zero needs model\.residual=true"),
        (CNN, {"residual": False, "residual_init": "zero"}, r"model\.residual_init=zero needs model\.residual=true"),
        (MLP, {"depth": 1}, r"model\.residual=true needs model\.depth of 2 or more: depth=1"),
        (MLP, {"norm": "group", "norm_groups": 7}, r"model\.norm_groups=7 cannot cut a layer of 24 features"),
        (MLP, {"norm": "group", "norm_groups": 24}, r"groups of at least 2"),
        (MLP, {"norm": "ghost_batch", "norm_batch_size": 1}, r"model\.norm_batch_size=1 .*use 2 or more"),
        (CNN, {"input_shape": (64,)}, r"CNN takes images .*the data has \(64,\): use model=mlp"),
        (WideResNet, {"input_shape": (8, 8)}, r"WideResNet takes images .*the data has \(8, 8\): use model=mlp"),
        (CNN, {"stages": 5}, r"model\.stages=5 divides the image's sides by 16, .*8x8 pixels"),
        (WideResNet, {"strides": [2, 4, 2]}, r"model\.strides=\[2, 4, 2\] divides .* by 16, .*8x8 pixels"),
        (WideResNet, {"strides": [2, 2]}, r"model\.strides=\[2, 2\] must be three"),
        (WideResNet, {"depth": 18}, r"model\.depth=18 must be 6n \+ 4 .*use model\.depth=16"),
        (WideResNet, {"depth": 4}, r"model\.depth=4 must be 6n \+ 4 .*use model\.depth=10"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(family, keys, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(family, **keys)
    assert "\n" not in str(caught.value)
