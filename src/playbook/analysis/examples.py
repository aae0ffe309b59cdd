"""What every validation example had to say at every evaluation of a trial: the ground of paired comparisons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Examples:
    """The objective, example by example, of one trial.

    `steps` (evaluations,) are in order. `values` (evaluations, examples) are 1 where an example was missed and 0 where
    it was not, or losses: lower is better, whatever the objective's direction, and column j is the same example at
    every evaluation of every trial of a study. The mean of a row orders evaluations as the objective does, where every
    example weighs the same and the objective is a mean (or, as a root of one, grows with it).
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float32]

    def at(self, step: int) -> NDArray[np.float32] | None:
        """(examples,): the values at an evaluation; None where that step was not evaluated."""
        place = int(np.searchsorted(self.steps, step))
        return self.values[place] if place < len(self.steps) and self.steps[place] == step else None
