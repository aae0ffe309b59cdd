"""Seeds as a function of what they are for: `fold_in(seed, stream, step, rank)`.

A trial keeps no random state between steps. Whatever is random at a step is drawn from a generator seeded by the
trial's seed, the name of the stream, and the step (and rank), so that step 1000 can be run without the 999 before it.
That is what makes resuming exact and a record reproducible.
"""

from __future__ import annotations

from enum import IntEnum

_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """What a seed is used for. Two streams never share their numbers; the values are part of the file format."""

    INITIALISATION = 1
    ORDER = 2
    AUGMENTATION = 3
    FORWARD = 4  # dropout and whatever else a model draws in a training step
    SPLIT = 5
    SAMPLE = 6
    EVALUATION = 7  # what a data set draws while it is evaluated: the same at every evaluation and in every trial
    GRADIENT_NOISE = 8  # the examples on which a callback measures it


def fold_in(seed: int, *words: int) -> int:
    """A 63-bit seed that depends on `seed` and every one of `words`, in order.

    SplitMix64's finaliser (Steele, Lea, Flood 2014) over the words: well mixed for consecutive integers, about 1 µs,
    and the same on every platform and in every version of every library.
    """
    state = _splitmix(seed & _MASK)
    for word in words:
        state = _splitmix(state ^ (word & _MASK))  # the seed is mixed before, so that they cannot change places
    return state >> 1


def _splitmix(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
