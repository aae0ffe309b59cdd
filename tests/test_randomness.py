"""Seeds derived by `fold_in`: the same for ever, apart from each other, well mixed."""

from __future__ import annotations

import numpy as np
import pytest

from playbook.randomness import Stream, fold_in

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The first output of the published SplitMix64 generator in uint64 numpy, whose products wrap by themselves."""
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int(z ^ (z >> np.uint64(31)))


def test_published_test_vector() -> None:
    # The first output of SplitMix64 seeded with 1234567, as Vigna's C program prints it.
    assert fold_in(1234567) == 6457827717110365317 >> 1


@pytest.mark.parametrize("words", [(), (1,), (2, 17), (4, 123_456, 3), (2**63 - 1,), (-5, 9)])
@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, -1])
def test_equals_the_construction_in_numpy(seed: int, words: tuple[int, ...]) -> None:
    state = splitmix64(seed & MASK)
    for word in words:
        state = splitmix64(state ^ (word & MASK))
    assert fold_in(seed, *words) == state >> 1


def test_values_are_frozen() -> None:
    # Every record depends on them: a change makes old runs irreproducible and needs a note in CHANGELOG.md.
    assert fold_in(0, Stream.INITIALISATION) == 313702574736366215
    assert fold_in(7, Stream.ORDER, 1000, 3) == 3073996982022241142
    assert {stream.name: stream.value for stream in Stream} == {
        "INITIALISATION": 1,
        "ORDER": 2,
        "AUGMENTATION": 3,
        "FORWARD": 4,
        "SPLIT": 5,
        "SAMPLE": 6,
        "EVALUATION": 7,
        "GRADIENT_NOISE": 8,
    }


def test_seed_and_stream_do_not_change_places() -> None:
    # Small seeds look like small stream numbers: seed 2 in stream 1 must not be seed 1 in stream 2.
    pairs = [(seed, stream) for seed in range(100) for stream in Stream]
    assert len({fold_in(*pair) for pair in pairs}) == len(pairs)


def test_no_collisions_over_consecutive_seeds_streams_and_steps() -> None:
    seeds = [fold_in(seed, stream, step) for seed in range(20) for stream in Stream for step in range(900)]
    assert len(set(seeds)) == len(seeds) == 144_000


def test_neighbours_in_length_and_order_differ() -> None:
    assert len({fold_in(3), fold_in(3, 0), fold_in(3, 0, 0), fold_in(0, 3), fold_in(0, 0, 3), fold_in(0, 3, 0)}) == 6


@pytest.mark.parametrize("place", range(3))
def test_a_flipped_bit_flips_half_of_the_result(place: int) -> None:
    words = [11, int(Stream.ORDER), 1234]
    before = fold_in(*words)
    flips = []
    for bit in range(63):
        changed = words.copy()
        changed[place] ^= 1 << bit
        flips.append((before ^ fold_in(*changed)).bit_count())
    # 63 draws of Binomial(63, ½): the mean has a standard deviation of 0.5, one draw of 4.
    assert abs(np.mean(flips) - 31.5) < 2.5
    assert min(flips) > 31.5 - 5 * 4


@pytest.mark.parametrize("bit", [0, 31, 62])
def test_every_bit_is_fair_over_consecutive_steps(bit: int) -> None:
    ones = sum(fold_in(0, Stream.FORWARD, step) >> bit & 1 for step in range(4096))
    assert abs(ones - 2048) < 5 * 32  # five standard deviations


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63 - 1, 2**200 + 5])
def test_any_integer_gives_a_63_bit_seed(seed: int) -> None:
    # torch's generators take 0 ≤ seed < 2**63 on every platform.
    for word in (0, -1, 2**100):
        assert 0 <= fold_in(seed, word) < 2**63


def test_a_sign_matters() -> None:
    assert fold_in(-1) != fold_in(1)
    assert fold_in(0, -1) != fold_in(0, 1)
