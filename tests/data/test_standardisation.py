"""Standardisation against NumPy in float64."""

import numpy as np
import pytest
import torch

from playbook.data.standardisation import Standardisation, hidden_by_outliers


@pytest.mark.parametrize("shape", [(5000, 3), (5000, 2, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_statistics_and_result_are_numpys(shape, dtype):
    examples = np.random.default_rng(0).uniform(3, 200, shape).astype(dtype)
    axes = (0, *range(2, len(shape)))
    mean = examples.mean(axes, dtype=np.float64, keepdims=True)
    std = examples.astype(np.float64).std(axes, keepdims=True)
    standardisation = Standardisation.of(torch.from_numpy(examples))
    np.testing.assert_allclose(standardisation.mean, mean[0], rtol=1e-7)
    np.testing.assert_allclose(standardisation.std, std[0], rtol=1e-7)
    result = standardisation(torch.from_numpy(examples))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, (examples - mean) / std, atol=2e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 255.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_feature_becomes_zero(constant, dtype):
    examples = torch.stack([torch.full((777,), constant, dtype=dtype), torch.arange(777, dtype=dtype)], dim=1)
    standardisation = Standardisation.of(examples)
    assert (standardisation(examples)[:, 0].abs() < 1e-15).all()
    assert standardisation(examples + 1)[0, 0] == pytest.approx(1 if constant < 1e9 or dtype == torch.float64 else 0)


def test_a_timestamp_keeps_its_digits():
    seconds = 1.7e9 + 0.1 * torch.arange(1000, dtype=torch.float64)[:, None]
    np.testing.assert_allclose(Standardisation.of(seconds)(seconds).std(correction=0), 1, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1e30, 1e200, 1e300])
def test_inputs_of_any_scale_are_the_same_inputs(scale):
    examples = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    examples = torch.cat([examples, torch.full((200, 1), 5.0, dtype=torch.float64)], 1)
    known = Standardisation.of(examples)(examples)
    scaled = examples * scale
    torch.testing.assert_close(Standardisation.of(scaled)(scaled), known, rtol=1e-5, atol=1e-6)


def test_the_unit_changes_no_bit_of_ordinary_inputs():
    examples = torch.randn(500, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 37 + 11
    mean = examples.sum(0, keepdim=True) / 500
    std = ((examples - mean).square().sum(0, keepdim=True) / 500).sqrt()
    found = Standardisation.of(examples)
    assert torch.equal(found.mean, mean[0])
    assert torch.equal(found.std, std[0])


@pytest.mark.parametrize("outlier", [1e200, -1e10, 1e5])
@pytest.mark.parametrize("shape", [(400, 3), (400, 3, 2, 2)])
def test_a_feature_that_an_outlier_hides_is_found(outlier, shape):
    examples = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    examples[7, 1] = outlier
    assert hidden_by_outliers(examples, Standardisation.of(examples).std) == [(1, abs(outlier))]


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_ordinary_features_are_not_hidden(scale):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(4000, generator=generator, dtype=torch.float64)
    rare, constant = (torch.arange(4000) == 5).double(), torch.full((4000,), 0.3, dtype=torch.float64)
    cauchy = normal / torch.randn(4000, generator=generator, dtype=torch.float64)
    examples = scale * torch.stack([normal, normal + 1e6, normal.exp(), cauchy, rare, constant], dim=1)
    assert hidden_by_outliers(examples, Standardisation.of(examples).std) == []
    assert hidden_by_outliers((examples / scale).round().to(torch.uint8), torch.ones(6)) == []
