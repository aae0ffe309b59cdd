"""The three generators that a data set may draw from, seeded for as long as a batch is made."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def generators_seeded(seed: int) -> Iterator[None]:
    """Within it torch's, NumPy's and Python's default generators are seeded; afterwards they are where they were.

    A generator that a data set holds itself (`numpy.random.default_rng()`) is out of reach, and so is not repeatable.
    """
    torch_state, numpy_state, python_state = (
        torch.default_generator.get_state(),
        np.random.get_state(),
        random.getstate(),
    )
    torch.default_generator.manual_seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
