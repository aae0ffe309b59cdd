"""Normalisation against NumPy in float64."""

import numpy as np
import pytest
import torch

from playbook.data.standardisation import Normalisation


@pytest.mark.parametrize("shape", [(5000, 3), (5000, 2, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_statistics_and_result_are_numpys(shape, dtype):
    examples = np.random.default_rng(0).uniform(3, 200, shape).astype(dtype)
    axes = (0, *range(2, len(shape)))
    mean = examples.mean(axes, dtype=np.float64, keepdims=True)
    std = examples.astype(np.float64).std(axes, keepdims=True)
    normalisation = Normalisation.of(torch.from_numpy(examples))
    np.testing.assert_allclose(normalisation.mean, mean[0], rtol=1e-7)
    np.testing.assert_allclose(normalisation.std, std[0], rtol=1e-7)
    result = normalisation(torch.from_numpy(examples))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, (examples - mean) / std, atol=2e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, 255.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_feature_becomes_zero(constant, dtype):
    examples = torch.stack([torch.full((777,), constant, dtype=dtype), torch.arange(777, dtype=dtype)], dim=1)
    normalisation = Normalisation.of(examples)
    assert (normalisation(examples)[:, 0].abs() < 1e-15).all()
    assert normalisation(examples + 1)[0, 0] == pytest.approx(1 if constant < 1e9 or dtype == torch.float64 else 0)


def test_a_timestamp_keeps_its_digits():
    seconds = 1.7e9 + 0.1 * torch.arange(1000, dtype=torch.float64)[:, None]
    np.testing.assert_allclose(Normalisation.of(seconds)(seconds).std(correction=0), 1, rtol=1e-5)
