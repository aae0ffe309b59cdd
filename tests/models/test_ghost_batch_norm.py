from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, stack_module_state, vmap

from playbook.models import GhostBatchNorm
from playbook.models.ghost_batch_norm import num_ghost_batches

torch.set_num_threads(1)

BATCH_SIZES = [2, 3, 37, 64, 65, 96, 100, 128, 129, 200]
NORM_BATCH_SIZES = [2, 32, 64, 256]
CHANNELS = 3
SPATIAL = [(), (2, 3)]


def group_slices(num_examples: int, norm_batch_size: int) -> list[slice]:
    """The groups by their definition: as many as come nearest, never of a single example, the larger ones first."""
    num_groups = int(np.rint(num_examples / norm_batch_size)) or 1
    while num_groups > 1 and num_examples // num_groups < 2:
        num_groups -= 1
    slices, start = [], 0
    for left in range(num_groups, 0, -1):
        size = -(-(num_examples - start) // left)
        slices.append(slice(start, start + size))
        start += size
    return slices


def reference(x, weight, bias, grad_output, norm_batch_size, eps=1e-5, momentum=0.1):
    """Outputs, gradients and running averages of one training step, by a loop over groups and channels in float64."""
    outputs, grad_inputs = np.empty_like(x), np.empty_like(x)
    grad_weight, grad_bias = np.zeros(CHANNELS), np.zeros(CHANNELS)
    mean, var = np.zeros(CHANNELS), np.zeros(CHANNELS)
    for group in group_slices(len(x), norm_batch_size):
        for c in range(CHANNELS):
            values, grads = x[group, c], grad_output[group, c]
            deviation = np.sqrt(values.var() + eps)
            normal = (values - values.mean()) / deviation
            outputs[group, c] = weight[c] * normal + bias[c]
            centred = grads - grads.mean() - normal * (grads * normal).mean()
            grad_inputs[group, c] = weight[c] / deviation * centred
            grad_weight[c] += (grads * normal).sum()
            grad_bias[c] += grads.sum()
            mean[c] += len(values) / len(x) * values.mean()
            var[c] += len(values) / len(x) * values.var(ddof=1)
    running_mean = momentum * mean
    running_var = (1 - momentum) + momentum * var
    return outputs, grad_inputs, grad_weight, grad_bias, running_mean, running_var


def make_layer(norm_batch_size: int) -> GhostBatchNorm:
    layer = GhostBatchNorm(CHANNELS, norm_batch_size).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, -1.5, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.0, -3.0]))
    return layer


def draw(num_examples: int, spatial: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(num_examples, CHANNELS, *spatial, generator=generator, dtype=torch.float64)
    return 2 * noise + torch.arange(num_examples).reshape(-1, 1, *[1 for _ in spatial]) / num_examples


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize("norm_batch_size", NORM_BATCH_SIZES)
@pytest.mark.parametrize("num_examples", BATCH_SIZES)
def test_training_step_matches_a_loop_over_groups(num_examples, norm_batch_size, spatial):
    layer = make_layer(norm_batch_size)
    inputs = draw(num_examples, spatial).requires_grad_()
    grad_output = draw(num_examples, spatial, seed=1)

    outputs = layer(inputs)
    outputs.backward(grad_output)

    expected = reference(
        inputs.detach().numpy(),
        layer.weight.detach().numpy(),
        layer.bias.detach().numpy(),
        grad_output.numpy(),
        norm_batch_size,
    )
    actual = (outputs, inputs.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var)
    for name, value, answer in zip(("out", "dx", "dw", "db", "mean", "var"), actual, expected, strict=True):
        # two values that nearly agree are divided by √eps: rounding is amplified by up to 300
        np.testing.assert_allclose(value.detach().numpy(), answer, rtol=1e-9, atol=1e-10, err_msg=name)
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("spatial", SPATIAL)
@pytest.mark.parametrize(
    ("num_examples", "norm_batch_size"), [(2, 2), (37, 64), (64, 64), (65, 64), (95, 64), (50, 256)]
)
def test_one_group_is_torch_batch_norm(num_examples, norm_batch_size, spatial):
    ours = make_layer(norm_batch_size)
    theirs = (torch.nn.BatchNorm2d if spatial else torch.nn.BatchNorm1d)(CHANNELS).double()
    theirs.load_state_dict(ours.state_dict())
    results = []
    for layer in (ours, theirs):
        for step in range(3):
            inputs = draw(num_examples, spatial, seed=step).requires_grad_()
            outputs = layer(inputs)
            outputs.backward(draw(num_examples, spatial, seed=9))
        evaluated = layer.eval()(inputs)
        results.append([outputs, evaluated, inputs.grad, layer.weight.grad, layer.bias.grad, *layer.buffers()])
    for value, answer in zip(*results, strict=True):
        torch.testing.assert_close(value, answer, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("num_examples", "norm_batch_size", "num_groups"),
    [
        (1, 64, 1),
        (3, 2, 1),
        (37, 64, 1),
        (65, 64, 1),
        (96, 64, 2),
        (100, 64, 2),
        (129, 64, 2),
        (200, 64, 3),
        (200, 32, 6),
    ],
)
def test_known_numbers_of_groups(num_examples, norm_batch_size, num_groups):
    assert num_ghost_batches(num_examples, norm_batch_size) == num_groups


@given(num_examples=st.integers(2, 5000), norm_batch_size=st.integers(2, 300))
def test_groups_have_two_examples_and_are_nearest_to_the_size_asked_for(num_examples, norm_batch_size):
    num_groups = num_ghost_batches(num_examples, norm_batch_size)
    assert num_examples // num_groups >= 2
    if num_groups > 1:
        assert norm_batch_size / 1.5 <= num_examples / num_groups <= norm_batch_size * 1.5


@pytest.mark.parametrize("spatial", SPATIAL)
def test_two_contiguous_shards_compute_what_one_process_does(spatial):
    inputs = draw(256, spatial)
    whole, shard = make_layer(64), make_layer(64)
    together = whole(inputs)
    apart = torch.cat([shard(half) for half in inputs.chunk(2)])
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-12)


def test_evaluation_imitates_training_on_the_same_data():
    group = draw(32, (2, 2))
    batch = group.repeat(3, 1, 1, 1)
    layer = make_layer(32)
    for _ in range(500):
        layer(batch)
    values = group.numpy().swapaxes(0, 1).reshape(CHANNELS, -1)
    mean, var = values.mean(1), values.var(1, ddof=1)
    shape = (1, CHANNELS, 1, 1)
    expected = (batch.numpy() - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    expected = expected * layer.weight.detach().numpy().reshape(shape) + layer.bias.detach().numpy().reshape(shape)
    layer.eval()
    np.testing.assert_allclose(layer(batch).detach().numpy(), expected, atol=1e-9)
    # an evaluation neither moves the averages nor depends on who else is in the batch
    assert layer.num_batches_tracked == 500
    torch.testing.assert_close(layer(batch[:1]), layer(batch)[:1])


def test_constant_data_gives_the_bias():
    layer = make_layer(4)
    constant = torch.full((9, CHANNELS, 2, 2), 7.0, dtype=torch.float64)
    for _ in range(300):
        outputs = layer(constant)
    expected = layer.bias.view(1, -1, 1, 1).expand_as(constant)
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(layer.running_mean, torch.full((CHANNELS,), 7.0, dtype=torch.float64))
    torch.testing.assert_close(layer.eval()(constant), expected)


def test_state_round_trip_with_torch_batch_norm():
    trained = make_layer(8)
    trained(draw(24, ()))
    inputs = draw(5, (), seed=3)
    for other in (GhostBatchNorm(CHANNELS, 8).double(), torch.nn.BatchNorm1d(CHANNELS).double()):
        assert list(other.state_dict()) == list(trained.state_dict())
        other.load_state_dict(trained.state_dict())
        torch.testing.assert_close(other.eval()(inputs), copy.deepcopy(trained).eval()(inputs))


@pytest.mark.parametrize("num_examples", [8, 12, 13])
def test_many_models_in_one_program_match_a_loop(num_examples):
    layers = [make_layer(4) for _ in range(3)]
    for scale, layer in enumerate(layers, start=1):
        torch.nn.init.constant_(layer.weight, scale)
    parameters, buffers = stack_module_state(layers)
    inputs = torch.stack([draw(num_examples, (2, 2), seed) for seed in range(3)])

    def forward(parameters, buffers, inputs):
        outputs = functional_call(layers[0], (parameters, buffers), (inputs,))
        return outputs, buffers

    outputs, buffers = vmap(forward)(parameters, buffers, inputs)
    for index, layer in enumerate(make_layer(4) for _ in range(3)):
        torch.nn.init.constant_(layer.weight, index + 1)
        torch.testing.assert_close(outputs[index], layer(inputs[index]))
        torch.testing.assert_close(buffers["running_mean"][index], layer.running_mean)
        torch.testing.assert_close(buffers["running_var"][index], layer.running_var)


def test_what_has_no_statistics_is_refused():
    with pytest.raises(ValueError, match=r"^model\.norm_batch_size=1 .*use 2 or more"):
        GhostBatchNorm(CHANNELS, norm_batch_size=1)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        GhostBatchNorm(CHANNELS)(torch.zeros(1, CHANNELS))
    with pytest.raises(ValueError, match=r"\(N, C\) or \(N, C, H, W\), got \(4, 3, 2\)"):
        GhostBatchNorm(CHANNELS)(torch.zeros(4, CHANNELS, 2))
    # one example with several positions has statistics
    assert GhostBatchNorm(CHANNELS)(torch.zeros(1, CHANNELS, 2, 2)).shape == (1, CHANNELS, 2, 2)
