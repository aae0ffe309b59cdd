"""The shape that convolutional families ask of an example."""

from __future__ import annotations

from collections.abc import Sequence


def image_channels(family: str, input_shape: Sequence[int], total_stride: int, stride_keys: str) -> int:
    """The number of channels of an `input_shape` (C, H, W) that survives being strided down by `total_stride`.

    Raises `ValueError` for other shapes, and for images with fewer pixels a side than `total_stride`: past that,
    strides look at their own padding. `stride_keys` are the config keys to lower, for that message.
    """
    shape = tuple(int(size) for size in input_shape)
    if len(shape) != 3:
        raise ValueError(f"{family} takes images (channels, height, width); the data has {shape}: use model=mlp")
    channels, height, width = shape
    if min(height, width) < total_stride:
        raise ValueError(
            f"{family} with {stride_keys} divides the image's sides by {total_stride}, more than the data's"
            f" {height}x{width} pixels allow: use smaller strides or fewer stages"
        )
    return channels
