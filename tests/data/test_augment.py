"""Crop and flip against a loop over images."""

import numpy as np
import pytest
import torch

from playbook.data import CropFlip


def crop_flip_one_by_one(images: np.ndarray, draws: np.ndarray, padding: int) -> np.ndarray:
    results = []
    for image, (row, column, flip) in zip(images, draws, strict=True):
        channels, height, width = image.shape
        canvas = np.zeros((channels, height + 2 * padding, width + 2 * padding), image.dtype)
        canvas[:, padding : padding + height, padding : padding + width] = image
        crop = canvas[:, row : row + height, column : column + width]
        results.append(crop[:, :, ::-1] if flip else crop)
    return np.stack(results)


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 5, 7)])
def test_the_batch_equals_a_loop_over_its_images(padding, flip, shape):
    augmentation = CropFlip(padding, flip)
    images = torch.randn(64, *shape, generator=torch.Generator().manual_seed(0))
    draws = augmentation.draw(64, torch.Generator().manual_seed(1))
    expected = crop_flip_one_by_one(images.numpy(), draws.numpy(), padding)
    np.testing.assert_array_equal(augmentation(images, draws).numpy(), expected)


def test_draws_cover_every_offset_and_both_sides_and_nothing_else():
    draws = CropFlip(2, True).draw(2000, torch.Generator().manual_seed(0))
    assert set(draws[:, 0].tolist()) == set(draws[:, 1].tolist()) == set(range(5))
    assert set(draws[:, 2].tolist()) == {0, 1}
    assert 0.4 < draws[:, 2].double().mean() < 0.6


def test_switching_the_flip_off_leaves_the_crops():
    with_flip, without = (CropFlip(3, flip).draw(100, torch.Generator().manual_seed(0)) for flip in (True, False))
    assert torch.equal(with_flip[:, :2], without[:, :2])
    assert without[:, 2].sum() == 0
