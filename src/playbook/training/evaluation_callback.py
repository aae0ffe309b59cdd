"""A Lightning callback that adds numbers to what each evaluation records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision.precision import Precision
from torch import device, nn

from playbook.data import Split
from playbook.tasks import Task


@dataclass(frozen=True)
class Weights:
    """A model as it is after `step` updates, in training mode, and what it is trained on.

    `precision` is the run's arithmetic. `seed` is the trial's.
    """

    step: int
    model: nn.Module
    task: Task
    train: Split
    device: device
    precision: Precision
    seed: int


class EvaluationCallback(pl.Callback):
    """A callback under `trainer.callbacks` whose numbers are recorded with the metrics, in `evals.csv` and the logger.

    `measure` is called at each evaluation, on each rank alike. It leaves the weights and buffers as they are; what it
    draws from the default generators changes no step, since each is seeded by its number.
    """

    def measure(self, weights: Weights) -> Mapping[str, float]:
        """Metrics by name, such as `gradient_noise/scale`; none where nothing is due."""
        raise NotImplementedError
