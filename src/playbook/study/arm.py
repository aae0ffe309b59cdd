"""An arm: a setting of the scientific hyperparameters, the space searched there, and its quasi-random points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from playbook.study import halton
from playbook.study.space import Choice, Dimension, Int, Value, identity


@dataclass(frozen=True)
class Arm:
    """One setting of the scientific hyperparameters, and the space that is searched there.

    `space` has the nuisance hyperparameters, those that exist only here, and scientific ones that are continuous;
    `repeats` the settings, of seeds, with which each point of the space is run; `seeds` those of the sequence, one for
    each dimension of the space.
    """

    name: str
    settings: Mapping[str, Value]
    space: Mapping[str, Dimension]
    repeats: tuple[Mapping[str, Value], ...] = ({},)
    seeds: tuple[int, ...] = ()

    @property
    def size(self) -> int | None:
        """How many different trials there are; None for a continuum."""
        sizes = [each.size for each in self.space.values()]
        return None if None in sizes else math.prod(each for each in sizes if each) * len(self.repeats)

    def settings_at(self, indices: Sequence[int]) -> list[dict[str, Value]]:
        """The settings of the arm's trials at `indices` (from 0)."""
        if not indices:
            return []
        places = [index // len(self.repeats) for index in indices]
        if self.size is None:
            found = dict(zip(places, self._at(np.array(places)), strict=True))
        else:
            found = dict(enumerate(itertools.islice(self._first_visits(), max(places) + 1)))
        return [
            {**self.settings, **found[place], **self.repeats[index % len(self.repeats)]}
            for place, index in zip(places, indices, strict=True)
        ]

    def _at(self, places: np.ndarray[Any, np.dtype[np.int64]]) -> list[dict[str, Value]]:
        rows = halton.points(self.seeds, places, len(self.space))
        return [{key: self.space[key].at(float(u)) for key, u in zip(self.space, row, strict=True)} for row in rows]

    def _first_visits(self) -> Iterator[dict[str, Value]]:
        """Every point of a finite space once, in the order in which the sequence first comes to it."""
        assert self.size is not None
        total = self.size // len(self.repeats)
        seen = set()
        chunk = 256
        for start in range(0, 8 * max(total, chunk), chunk):
            for point in self._at(np.arange(start, start + chunk)):
                if (name := identity(point)) not in seen:
                    seen.add(name)
                    yield point
            if len(seen) == total:
                return
        for point in product(self.space):  # a late few
            if identity(point) not in seen:
                yield point


def product(space: Mapping[str, Dimension]) -> Iterator[dict[str, Value]]:
    """Every combination of finite dimensions; of none, the empty one."""
    for values in itertools.product(*map(values_of, space.values())):
        yield dict(zip(space, values, strict=True))


def values_of(dimension: Dimension) -> Sequence[Value]:
    """The values of a finite dimension, in order."""
    if isinstance(dimension, Choice):
        return dimension.values
    assert isinstance(dimension, Int)
    return range(dimension.low, dimension.high + 1)
