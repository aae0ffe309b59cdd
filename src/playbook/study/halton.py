"""The quasi-random sequence behind every study: a randomised Halton sequence that is ours to the last bit (E3).

Point i of dimension j is the radical inverse of i in the j-th prime, with an independent random permutation of every
digit (Owen 2017, arXiv 1706.02808). It is a pure function of (seed, index, dimension): no library's random stream is
involved, so a study can be extended years later, by any number of points at once and in any order. A further
dimension leaves the others where they are.

Details that matter, each measured as centred discrepancy over many seeds: the *first* primes (the reference code that
the playbook links takes the largest below 1000 and is no better than random search); an independent permutation for
each digit rather than one for each base; no leaping, no burn-in, and no further random shift, which the permutations
of the leading zeros already contain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from playbook.randomness import fold_in

_BITS = 53  # of a float64's fraction: digits beyond change nothing


def points(seed: int | Sequence[int], indices: NDArray[np.integer], dimensions: int) -> NDArray[np.float64]:
    """The points at `indices` (integers ≥ 0, of shape (n,)): float64 of shape (n, dimensions), in [0, 1).

    `seed` is that of all dimensions, or one for each: the permutations of two dimensions are independent either way.
    """
    if dimensions < 0:
        raise ValueError(f"dimensions={dimensions}: allowed is 0 or more")
    whole: NDArray[np.int64] = np.asarray(indices, dtype=np.int64)
    if whole.ndim != 1 or (whole < 0).any():
        raise ValueError("indices: allowed is a list of whole numbers from 0")
    seeds = [seed] * dimensions if isinstance(seed, int) else seed
    columns = [_column(each, whole, prime) for each, prime in zip(seeds, first_primes(dimensions), strict=True)]
    return np.stack(columns, axis=1) if columns else np.zeros((len(whole), 0))


def point(seed: int, index: int, dimensions: int) -> NDArray[np.float64]:
    """One point: float64 of shape (dimensions,)."""
    return points(seed, np.array([index]), dimensions)[0]


def first_primes(count: int) -> list[int]:
    """The first `count` primes: the bases of the dimensions."""
    primes: list[int] = []
    candidate = 2
    while len(primes) < count:
        if all(candidate % prime for prime in primes if prime * prime <= candidate):
            primes.append(candidate)
        candidate += 1
    return primes


def _column(seed: int, indices: NDArray[np.int64], base: int) -> NDArray[np.float64]:
    """Scrambled radical inverses: digit k of the index, permuted, becomes digit k after the point."""
    num_digits = math.ceil(_BITS / math.log2(base))
    largest = int(indices.max(initial=0))
    assert largest < base**num_digits, "the index has more digits than a float64 can hold"
    rest = indices.copy()
    value = np.zeros(len(indices))
    scale = 1.0
    for k in range(num_digits):
        scale /= base
        permutation = _permutation(seed, base, k)
        if largest == 0:  # every digit from here on is a zero, permuted: the same for all indices
            value += permutation[0] * scale
            continue
        rest, digits = np.divmod(rest, base)
        largest //= base
        value += permutation[digits] * scale
    return np.minimum(value, np.nextafter(1.0, 0.0))  # a sum of many last digits may round up to 1


def _permutation(seed: int, base: int, digit: int) -> NDArray[np.int64]:
    """A random order of 0 … base − 1: that of as many hashes."""
    keys = [fold_in(seed, base, digit, value) for value in range(base)]
    return np.argsort(np.array(keys), kind="stable")
