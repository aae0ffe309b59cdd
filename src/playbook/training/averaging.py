"""The averaged weights of a run (`averaging=ema`): updated at each step, evaluated and saved beside the raw ones.

Training does not see them. A batch norm layer's statistics belong to the weights that they were gathered with: those of
the averaged weights are gathered anew at each evaluation, over the fixed sample of the training split, in evaluation
mode but for batch norm itself. So they are a function of the averaged weights and the data, and need no state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from pytorch_lightning.plugins.precision.precision import Precision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from playbook.batch import num_examples
from playbook.config import Config
from playbook.data import PassLoader
from playbook.optim import Averaging, NoAveraging
from playbook.tasks import Task
from playbook.training.evaluation import evaluating

AVERAGED_WEIGHTS = "averaged_weights"
"""The entry of a checkpoint that holds them: a state dict of the model."""
AVERAGED = "val_avg"
"""What the names of their metrics begin with, where those of the raw weights begin with `val`."""


def averaging_of(config: Config) -> Averaging | None:
    """The rule of the average that a config asks for; None for none."""
    rule: Averaging = config.averaging.build()
    return None if isinstance(rule, NoAveraging) else rule


class AveragedWeights:
    """The average of the trained parameters of `model`.

    It is kept in float32 where the parameters have fewer digits: a share of 0.001 would be rounded away.
    `saved` is what `state_dict` gave, to go on from.
    """

    def __init__(self, model: nn.Module, rule: Averaging, total_steps: int, saved: Mapping[str, Tensor] | None) -> None:
        self._model = model
        self._rule = rule
        self._total_steps = total_steps
        named = {name: param for name, param in model.named_parameters() if param.requires_grad}
        self._params = [param.detach() for param in named.values()]
        begins = self._params if saved is None else [saved[name].to(param.device) for name, param in named.items()]
        self._average = [
            begin.to(torch.promote_types(param.dtype, torch.float32), copy=True)
            for begin, param in zip(begins, self._params, strict=True)
        ]
        self._statistics: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` updates."""
        share = self._rule.share(step, self._total_steps)
        params = [param.to(average.dtype) for param, average in zip(self._params, self._average, strict=True)]
        torch._foreach_lerp_(self._average, params, share)

    @contextmanager
    def in_the_model(self, task: Task, sample: PassLoader, precision: Precision) -> Iterator[None]:
        """Within it the model has the averaged weights, with the batch norm statistics that `sample` gives them."""
        layers = {
            name: layer
            for name, layer in self._model.named_modules()
            if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None
        }
        raw = [param.clone() for param in self._params]
        raw_statistics = _statistics(layers)
        torch._foreach_copy_(self._params, self._average)
        try:
            _gather_statistics(self._model, task, list(layers.values()), sample, precision)
            self._statistics = _statistics(layers)
            yield
        finally:
            torch._foreach_copy_(self._params, raw)
            buffers = dict(self._model.named_buffers())
            for name, value in raw_statistics.items():
                buffers[name].copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The model's state dict with the averaged weights, and the statistics of their last evaluation."""
        averaged = {id(param): average for param, average in zip(self._trained(), self._average, strict=True)}
        state: dict[str, Tensor] = self._model.state_dict(keep_vars=True)
        return {
            name: self._statistics.get(name, averaged.get(id(value), value)).detach() for name, value in state.items()
        }

    def _trained(self) -> Iterator[nn.Parameter]:
        return (param for param in self._model.parameters() if param.requires_grad)


def _statistics(layers: Mapping[str, _BatchNorm]) -> dict[str, Tensor]:
    """Copies of the layers' buffers, by their names in the model."""
    return {
        f"{name}.{buffer_name}" if name else buffer_name: buffer.clone()
        for name, layer in layers.items()
        for buffer_name, buffer in layer.named_buffers(recurse=False)
    }


@torch.no_grad()
def _gather_statistics(
    model: nn.Module, task: Task, layers: list[_BatchNorm], sample: PassLoader, precision: Precision
) -> None:
    """Give the layers the mean statistics of the batches of `sample`, each weighted by its examples."""
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
    seen = 0
    try:
        with evaluating(model):
            for layer in layers:
                layer.train()
            for batch in sample:
                count = num_examples(batch.inputs)
                if count == 1:  # has no variance
                    continue
                seen += count
                for layer in layers:
                    layer.momentum = count / seen
                with precision.forward_context():
                    task.outputs(model, precision.convert_input(batch.inputs))
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
