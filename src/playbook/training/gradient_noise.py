"""The gradient noise scale: how large a batch is before its gradient is mostly signal (G4).

McCandlish et al. 2018 (arXiv 1812.06162), appendix A.1: of batches of two sizes the squared norms of the gradients give
unbiased estimates of the squared norm of the true one, |G|², and of the trace of the covariance of the gradient of one
example, tr Σ. B_simple = tr Σ / |G|². Here the small batches are slices of a large one.

It is another quantity than the critical batch size that is fitted to steps (`playbook.analysis.critical_batch_size`):
it assumes plain SGD at its best rate in every direction, and is measured on the way of one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from playbook.batch import to_device
from playbook.data import Split, StreamSplit
from playbook.data.seeding import generators_seeded
from playbook.randomness import Stream, fold_in
from playbook.training.evaluation_callback import EvaluationCallback, Weights

VARIANCE, SQUARED_NORM, SCALE = "gradient_noise/variance", "gradient_noise/squared_norm", "gradient_noise/scale"


def noise_of_slices(small: float, large: float, *, slice_size: int, batch_size: int) -> tuple[float, float]:
    """tr Σ and |G|², unbiased, of the mean squared norm of the gradients of slices and that of their batch's gradient.

    |G|² may come out negative where the batch is far smaller than the noise scale.
    """
    variance = (small - large) / (1 / slice_size - 1 / batch_size)
    return variance, (batch_size * large - slice_size * small) / (batch_size - slice_size)


class GradientNoiseScale(EvaluationCallback):
    """Records tr Σ, |G|² and, where |G|² is positive, their ratio in examples: `gradient_noise/…` in `evals.csv`.

        python train.py '+trainer.callbacks.noise={_target_: playbook.training.GradientNoiseScale}'

    At each evaluation whose step is a multiple of `every`, on `num_examples` of the training split (or all that it
    has), drawn anew each time, in `num_slices` slices, one at a time. They are the examples as they are stored, without
    augmentation; dropout is on, as in a step. The run itself stays the same to the last bit.

    The gradient that counts is that of the whole training split: of n examples without replacement its squared norm is
    |G|² + tr Σ / n, which is what is recorded as |G|²; a stream has no end, and there it is |G|² itself.
    """

    def __init__(
        self, every: PositiveInt = 1, num_examples: PositiveInt = 1024, num_slices: Annotated[int, Field(ge=2)] = 16
    ) -> None:
        self._every = every
        self._num_examples = num_examples
        self._num_slices = num_slices

    def measure(self, weights: Weights) -> Mapping[str, float]:
        if weights.step % self._every:
            return {}
        endless = isinstance(weights.train, StreamSplit)
        available = self._num_examples if endless else min(self._num_examples, len(weights.train))
        slice_size = available // self._num_slices
        if slice_size < 1:
            return {}
        batch_size = slice_size * self._num_slices
        small, large = _squared_norms(weights, batch_size, slice_size)
        variance, squared_norm = noise_of_slices(small, large, slice_size=slice_size, batch_size=batch_size)
        if not endless:
            squared_norm += variance / len(weights.train)
        found = {VARIANCE: variance, SQUARED_NORM: squared_norm}
        return found | ({SCALE: variance / squared_norm} if squared_norm > 0 else {})


def _squared_norms(weights: Weights, batch_size: int, slice_size: int) -> tuple[float, float]:
    """The mean squared norm of the slices' gradients, and that of their mean."""
    model, train = weights.model, weights.train
    seed = fold_in(weights.seed, Stream.GRADIENT_NOISE, weights.step)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # running averages, which a pass moves
    sums = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in parameters]
    squares = torch.zeros((), device=weights.device)
    with generators_seeded(seed), torch.enable_grad():
        for indices in _drawn(train, batch_size).chunk(batch_size // slice_size):
            batch = train.batch(indices.to(weights.device) if train.in_memory else indices)
            batch = weights.precision.convert_input(to_device(batch, weights.device))
            with weights.precision.forward_context():
                loss = weights.task.training_loss(model, batch)
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            gradients = [
                torch.zeros_like(total) if each is None else each.float()
                for each, total in zip(found, sums, strict=True)
            ]
            squares += _squared(gradients)
            torch._foreach_add_(sums, gradients)
    _restore(model, buffers)
    num_slices = batch_size // slice_size
    return float(squares) / num_slices, float(_squared(sums)) / num_slices**2


def _drawn(train: Split, num: int) -> Tensor:
    """Examples without replacement; of a stream the first."""
    return torch.arange(num) if isinstance(train, StreamSplit) else torch.randperm(len(train))[:num]


def _squared(tensors: list[Tensor]) -> Tensor:
    norms: Tensor = torch.nn.utils.get_total_norm(tensors)
    return norms**2


@torch.no_grad()
def _restore(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
