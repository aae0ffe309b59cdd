"""Who trains, who judges: stratified splits and the fixed sample, and a measure of how skewed a sample is.

A split is a function of (targets, fractions, split_seed) and not of the trial's seed: the trials of a study must be
judged on the same examples, and the test examples must stay unseen for the life of a project.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from playbook.data.split import Split, SplitName, StreamSplit
from playbook.errors import InputError
from playbook.randomness import Stream, fold_in

IntArray = NDArray[np.int64]
Fraction = Annotated[float, Field(gt=0, lt=1)]

SKEW_LIMIT = 0.1
"""A sample with a larger `skew` misrepresents its split: a tenth of its examples are in the wrong place (D2)."""

_NUM_STRATA = 10  # deciles of a regression target


def split_indices(
    targets: Tensor, *, val_fraction: float, test_fraction: float = 0.0, split_seed: int
) -> dict[SplitName, Tensor]:
    """Sorted int64 indices of each split: disjoint, together all examples, of exactly round(n · fraction) examples.

    Every class (for regression: every decile of the first target) gets its share of each split, rounded up or down.
    """
    num_examples = len(targets)
    num_test, num_val = round(num_examples * test_fraction), round(num_examples * val_fraction)
    if num_test + num_val >= num_examples:
        raise InputError(
            f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} leave no example of "
            f"{num_examples} to train on: their sum must be below 1"
        )
    for key, fraction, size in (("val", val_fraction, num_val), ("test", test_fraction, num_test)):
        if fraction > 0 and size == 0:
            raise InputError(
                f"data.{key}_fraction={fraction} of {num_examples} examples is none: "
                f"type at least {1 / num_examples:.2g}"
            )
    random = _random(fold_in(split_seed, Stream.SPLIT))
    strata = _strata(targets)
    everyone = np.arange(num_examples)
    test = _stratified(strata, num_test, random)
    others = np.setdiff1d(everyone, test)
    val = others[_stratified(strata[others], num_val, random)]
    train = np.setdiff1d(others, val)
    return {"train": torch.from_numpy(train), "val": torch.from_numpy(val), "test": torch.from_numpy(test)}


def fixed_sample(targets: Tensor, size: int, seed: int) -> Tensor:
    """Sorted indices (int64) of `size` examples, or all if there are fewer: stratified, and the same for a seed."""
    random = _random(fold_in(seed, Stream.SAMPLE))
    return torch.from_numpy(_stratified(_strata(targets), min(size, len(targets)), random))


def sample_of(split: Split, size: int, seed: int) -> Tensor:
    """Sorted indices of a `fixed_sample` of a split; random ones where no label says who is alike, and of a stream,
    which has no last example, the first.
    """
    if isinstance(split, StreamSplit):
        return torch.arange(size)
    if (targets := labels_of(split)) is not None:
        return fixed_sample(targets, size, seed)
    return random_sample(len(split), size, seed)


def random_sample(num_examples: int, size: int, seed: int) -> Tensor:
    """Sorted indices (int64) of `size` examples, or all if there are fewer, whoever they are; the same for a seed."""
    # Not a permutation of all: a corpus has a hundred million windows.
    chosen = _choice(num_examples, min(size, num_examples), _random(fold_in(seed, Stream.SAMPLE)))
    return torch.from_numpy(np.sort(chosen))


def labels_of(split: Split) -> Tensor | None:
    """What samples are stratified by and skew is measured on, on the CPU: classes (n,), or real values (n, k)."""
    targets = split.targets
    if targets is None or targets.ndim != (2 if targets.is_floating_point() else 1):
        return None
    return targets.cpu()


def skew(sample: Tensor, everyone: Tensor) -> float:
    """How far the targets of a sample are from those of the whole: 0 is the same, 1 has nothing in common.

    For classes the total variation distance of their frequencies; for regression the largest distance between the two
    cumulative distributions (Kolmogorov–Smirnov), over the outputs. Compare with `SKEW_LIMIT`.
    """
    if everyone.ndim == 1:
        num_classes = int(everyone.max()) + 1
        frequencies = [torch.bincount(part, minlength=num_classes).double() / len(part) for part in (sample, everyone)]
        return float((frequencies[0] - frequencies[1]).abs().sum() / 2)
    from scipy.stats import ks_2samp  # half a second of imports

    pairs = zip(sample.T.numpy(), everyone.T.numpy(), strict=True)
    return max(float(ks_2samp(few, many, method="asymp").statistic) for few, many in pairs)


def _stratified(strata: IntArray, size: int, random: np.random.RandomState) -> IntArray:
    """Sorted positions of `size` examples: its share of each stratum, rounded down or up to the exact sum."""
    labels, counts = np.unique(strata, return_counts=True)
    shares = size * counts / max(len(strata), 1)
    quotas = np.floor(shares).astype(np.int64)
    # The largest remainders are rounded up; ties are broken at random, or the first classes would always win them.
    order = np.lexsort((random.permutation(len(labels)), quotas - shares))
    quotas[order[: size - quotas.sum()]] += 1
    chosen = [
        random.permutation(np.flatnonzero(strata == label))[:quota] for label, quota in zip(labels, quotas, strict=True)
    ]
    return np.sort(np.concatenate([*chosen, np.empty(0, np.int64)]))


def _choice(num_examples: int, size: int, random: np.random.RandomState) -> IntArray:
    """`size` different positions, in no order."""
    if size > num_examples // 2:
        return random.permutation(num_examples)[:size]
    chosen: dict[int, None] = {}
    while len(chosen) < size:
        chosen |= dict.fromkeys(random.randint(num_examples, size=size - len(chosen)).tolist())
    return np.fromiter(chosen, np.int64, size)


def _strata(targets: Tensor) -> IntArray:
    if targets.ndim == 1:
        return targets.numpy()
    ranks = np.argsort(np.argsort(targets[:, 0].numpy(), kind="stable"), kind="stable")
    return ranks * _NUM_STRATA // max(len(ranks), 1)


def _random(seed: int) -> np.random.RandomState:
    # NumPy's one generator whose numbers are promised never to change (NEP 19): a later version must not move a test
    # example into training.
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32])
