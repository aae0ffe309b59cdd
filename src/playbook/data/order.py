"""Which examples a step sees: a function of (seed, step, rank) and nothing else.

The training set is read as one endless stream: a random permutation of all examples, then another, and so on. Step t
takes positions [t·B, (t+1)·B) of that stream, so there are no epochs, no partial batches, and no sampler state to save:
step 1000 can be had without the 999 before it, which is what makes resuming exact (and costs nothing).
"""

from __future__ import annotations

import torch
from torch import Tensor

from playbook.errors import InputError
from playbook.randomness import Stream, fold_in


class StepOrder:
    """`order(step)` is the examples of a step; the permutations in use are kept, so that it costs one view of one.

    Ranks hold contiguous equal shares, so that the shares concatenated in rank order are the batch of a single process.
    A stream has no number of examples: step t takes examples [t·B, (t+1)·B), and none twice.

    Raises:
        InputError: `batch_size` cannot be shared equally by `world_size`.
    """

    def __init__(
        self,
        num_examples: int | None,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
    ) -> None:
        assert num_examples is None or num_examples > 0, "a split has examples"
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"batch_size={batch_size} cannot be shared equally by {world_size} processes: "
                f"type a positive multiple of {world_size}"
            )
        assert 0 <= rank < world_size
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.seed = seed
        self.share = slice(batch_size // world_size * rank, batch_size // world_size * (rank + 1))
        self.device = device
        self._permutations: dict[int, Tensor] = {}

    def __call__(self, step: int) -> Tensor:
        """The examples of `step` on this rank: int64 of shape (batch_size / world_size,), on `device`."""
        first = step * self.batch_size + self.share.start
        missing = self.share.stop - self.share.start
        if self.num_examples is None:
            return torch.arange(first, first + missing)
        epoch, offset = divmod(first, self.num_examples)
        if offset + missing <= self.num_examples:
            return self._permutation(epoch).narrow(0, offset, missing)
        pieces = []
        while missing:
            length = min(missing, self.num_examples - offset)
            pieces.append(self._permutation(epoch).narrow(0, offset, length))
            missing -= length
            epoch, offset = epoch + 1, 0
        return torch.cat(pieces)

    def _permutation(self, epoch: int) -> Tensor:
        permutation = self._permutations.get(epoch)
        if permutation is None:
            assert self.num_examples is not None
            generator = torch.Generator().manual_seed(fold_in(self.seed, Stream.ORDER, epoch))
            permutation = torch.randperm(self.num_examples, generator=generator)
            if self.device is not None and self.device.type == "cuda":
                # From pinned memory the copy runs behind the host's back; from pageable memory it may wait for the GPU.
                permutation = permutation.pin_memory().to(self.device, non_blocking=True)
            elif self.device is not None:
                permutation = permutation.to(self.device)
            if len(self._permutations) == 2:  # a batch straddles two neighbours; older ones do not come back
                del self._permutations[next(iter(self._permutations))]
            self._permutations[epoch] = permutation
        return permutation
