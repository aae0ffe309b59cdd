"""Windows of a long row of tokens: the split of a language model's data."""

from __future__ import annotations

import torch
from torch import Tensor

from playbook.batch import Batch
from playbook.data.split import Split

PADDING = -100
"""The target of a place behind the last token."""

_MOST_OFFSETS = 1 << 22  # a permutation of so many takes 32 MiB and 0.1 s
_MOST_TARGETS = 1 << 24  # tokens of a split for judging whose targets are held in memory as well


class TokenWindows(Split):
    """Example i is the `context` tokens from i·stride on, int64 (context,), and as targets those one place later.

    Windows for judging follow one another (stride = context), so that every token but the first is a target once;
    behind the last token inputs are 0 and targets −100. With `every_offset`, for training, windows begin at every
    token, or at every few of a text so long that a permutation of all offsets would be large, and none is padded.

    `tokens` (number of tokens,), of a small integer type, may be mapped from a file; they are kept on the device.
    `targets` are those of windows for judging, of a signed type, (n, context); None of very many and in training.
    """

    in_memory = True

    def __init__(self, tokens: Tensor, context: int, *, every_offset: bool) -> None:
        num_pairs = len(tokens) - 1
        if every_offset:
            self.stride = min(context, -(-(num_pairs - context + 1) // _MOST_OFFSETS))
            num_windows = (num_pairs - context) // self.stride + 1
        else:
            self.stride = context
            num_windows = -(-num_pairs // context)
        assert num_windows > 0
        self.tokens = tokens
        self.context = context
        self.every_offset = every_offset
        targets = None
        if not every_offset and len(tokens) <= _MOST_TARGETS:
            signed = torch.int16 if tokens.dtype == torch.uint8 else tokens.dtype
            targets = torch.full((num_windows * context,), PADDING, dtype=signed)
            targets[:num_pairs] = tokens[1:]
            targets = targets.reshape(num_windows, context)
        super().__init__(targets, (context,), num_examples=num_windows)

    def batch(self, indices: Tensor) -> Batch:
        places = indices[:, None] * self.stride + torch.arange(self.context + 1, device=indices.device)
        if self.every_offset:
            windows = self.tokens[places].long()
            return Batch(windows[:, :-1], windows[:, 1:])
        behind = places >= len(self.tokens)
        windows = self.tokens[places.clamp(max=len(self.tokens) - 1)].long().masked_fill(behind, 0)
        return Batch(windows[:, :-1], windows[:, 1:].masked_fill(behind[:, 1:], PADDING))

    def to(self, device: torch.device | str) -> TokenWindows:
        tokens = self.tokens.to(device)
        if tokens is self.tokens:
            return self
        return TokenWindows(tokens, self.context, every_offset=self.every_offset)


class StoredTokenWindows(TokenWindows):
    """The same windows of tokens that stay where they are, such as in a file; batches are made on the CPU."""

    in_memory = False

    def to(self, device: torch.device | str) -> TokenWindows:
        return self
