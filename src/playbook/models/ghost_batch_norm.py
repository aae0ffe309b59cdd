"""Batch normalisation whose statistics have a batch size of their own (rules `A9` and `D5`).

The noise of batch statistics is a regulariser whose strength depends on how many examples they are taken over. Tied to
the gradient's batch size it would change with it, and a batch-size comparison would compare two models. Ghost batch
normalisation (Hoffer, Hubara, Soudry 2017) takes them over groups of about 64 examples whatever the batch is.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


def num_ghost_batches(num_examples: int, norm_batch_size: int) -> int:
    """Into how many groups a batch is cut: as near to `norm_batch_size` each as possible, and two examples at least.

    100 examples at 64 are two groups of 50, not 64 and a remnant of 36 whose statistics are noisier than the rest.
    """
    return max(1, min(round(num_examples / norm_batch_size), num_examples // 2))


class GhostBatchNorm(_BatchNorm):
    """BatchNorm over groups of consecutive examples, for inputs (N, C) and (N, C, H, W).

    In training the batch is cut as `torch.tensor_split` does, into groups whose sizes differ by at most one, and each
    is normalised with its own mean and biased variance. Groups are consecutive examples, so that two processes, each
    with a contiguous half that holds whole groups, compute what one process with all of the batch does. The running
    averages move once a step, to the example-weighted mean of the groups' means and unbiased variances; evaluation uses
    them. The variance between the groups' means is left out, because evaluation is to imitate the normalisation within
    a group that training saw.

    With one group it *is* torch's BatchNorm, whose class it extends: same state, same checks, same evaluation; like
    that, it refuses to train on a single value per channel. Two calls at most into the fused kernel, one per group
    size, with groups laid out as channels; no group needs a Python iteration.
    """

    def __init__(self, num_features: int, norm_batch_size: int = 64, eps: float = 1e-5, momentum: float = 0.1) -> None:
        if norm_batch_size < 2:
            raise ValueError(
                f"model.norm_batch_size={norm_batch_size} gives no batch to take statistics over: use 2 or more,"
                " or model.norm=layer to normalise each example by itself"
            )
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.norm_batch_size = norm_batch_size

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised `inputs`, of the same shape."""
        self._check_input_dim(inputs)
        num_examples = len(inputs)
        num_groups = num_ghost_batches(num_examples, self.norm_batch_size)
        if not self.training or num_groups == 1:
            return super().forward(inputs)

        size, num_larger = divmod(num_examples, num_groups)
        cut = num_larger * (size + 1)
        if num_larger == 0:
            outputs, mean, var = self._normalise(inputs, num_groups)
        else:
            larger, larger_mean, larger_var = self._normalise(inputs[:cut], num_larger)
            rest, rest_mean, rest_var = self._normalise(inputs[cut:], num_groups - num_larger)
            outputs = torch.cat([larger, rest])
            weight = cut / num_examples
            mean = weight * larger_mean + (1 - weight) * rest_mean
            var = weight * larger_var + (1 - weight) * rest_var
        self._update_running_averages(mean, var)
        return outputs

    def extra_repr(self) -> str:
        """As BatchNorm prints itself, and the groups' size."""
        return f"{super().extra_repr()}, norm_batch_size={self.norm_batch_size}"  # type: ignore[no-untyped-call]

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 4):
            raise ValueError(f"expected inputs (N, C) or (N, C, H, W), got {tuple(input.shape)}")

    def _normalise(self, inputs: Tensor, num_groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised `inputs`, and (C,) means over `num_groups` equal groups of their means and unbiased variances."""
        channels = inputs.shape[1]
        size = len(inputs) // num_groups
        # group g's channel c becomes channel g·C + c of a batch of `size` examples
        grouped = inputs.reshape(num_groups, size, *inputs.shape[1:]).transpose(0, 1).flatten(1, 2)
        # running averages that begin at 0 and move all the way are the statistics themselves
        mean = inputs.new_zeros(num_groups * channels, dtype=self.weight.dtype)
        var = torch.zeros_like(mean)
        outputs = F.batch_norm(
            grouped,
            mean,
            var,
            self.weight.repeat(num_groups),
            self.bias.repeat(num_groups),
            training=True,
            momentum=1.0,
            eps=self.eps,
        )
        outputs = outputs.view(size, num_groups, *inputs.shape[1:]).transpose(0, 1).flatten(0, 1)
        return outputs, mean.view(num_groups, channels).mean(0), var.view(num_groups, channels).mean(0)

    def _update_running_averages(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        # not `lerp_`, which torch.func has no batching rule for
        self.running_mean.mul_(1 - self.momentum).add_(mean, alpha=self.momentum)
        self.running_var.mul_(1 - self.momentum).add_(var, alpha=self.momentum)
