"""The next token: cross-entropy per token, its perplexity, and bits per byte where the data say how long a token is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from playbook.batch import Batch
from playbook.errors import InputError
from playbook.tasks.base import Task, at_least_float32, refuse_other_shape

PADDING = -100
"""The target of a position that does not count; torch's `cross_entropy` has the same."""


class LanguageModelling(Task):
    """Outputs (n, length, vocab_size) say which token comes next: targets are whole numbers (n, length).

    A target of −100 is padding and does not count; or targets are `{"tokens": …, "mask": …}`, with a mask that is true
    where they count. A loss is the mean over the tokens that count, whatever sequence they are in. `bytes_per_token`,
    if the data supply it, is the mean number of bytes that a token stands for; `token_counts`, (vocab_size,), how often
    each occurs in training, which is else counted in `train_targets`.
    """

    counts: Tensor
    training_sample = 256
    """Sequences: each is as many examples as it has tokens."""

    def __init__(
        self,
        train_targets: Tensor | None,
        vocab_size: int | None = None,
        bytes_per_token: float | None = None,
        token_counts: Tensor | None = None,
        metrics: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(metrics)
        if vocab_size is None:
            raise InputError(
                "task=language_modelling: the data do not supply a vocab_size: choose data of text, or name it in"
                " `supplies` of the source"
            )
        self.num_outputs = vocab_size
        self.bytes_per_token = bytes_per_token
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.int64))
        if token_counts is not None:
            self.counts += token_counts
            return
        for some in (
            () if train_targets is None else torch.split(train_targets, 4096)
        ):  # it may be a file, mapped to memory
            tokens = _counted(some)
            if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
                raise InputError(
                    f"task=language_modelling: found token {int(tokens.max())}, and vocab_size is {vocab_size}"
                )
            self.counts += torch.bincount(tokens, minlength=vocab_size)

    def targets(self, batch: Batch) -> Tensor:
        """Int64 (n, length), −100 where they do not count."""
        if not isinstance(batch.targets, dict):
            return batch.targets.long()
        return batch.targets["tokens"].long().masked_fill(~batch.targets["mask"].bool(), PADDING)

    def weight(self, batch: Batch) -> Tensor:
        """The tokens that count."""
        return (self.targets(batch) != PADDING).sum()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of a batch without a token that counts it is 0: such a micro-batch has no weight."""
        logits = at_least_float32(outputs).flatten(0, -2)
        total = F.cross_entropy(logits, targets.flatten(), ignore_index=PADDING, reduction="sum")
        return total / (targets != PADDING).sum().clamp(min=1)

    def check(self, outputs: Any, batch: Batch) -> None:
        needed = (*self.targets(batch).shape, len(self.counts))
        refuse_other_shape(outputs, batch, needed, "(examples, length, vocab_size)")

    def own_metrics(self) -> Metric:
        return LanguageModellingMetrics(self.bytes_per_token)

    def judged(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Of each sequence the sum of its tokens' losses, and how many count: of these all metrics are functions."""
        return sums_of_losses(outputs, targets)

    def example_values(
        self, metric: str, outputs: tuple[Tensor, Tensor], targets: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """The mean loss of each sequence, weighted with its tokens; outputs are what `judged` gives."""
        losses, counts = outputs
        return (losses / counts.clamp(min=1), counts) if metric in numbers_of(0.0, self.bytes_per_token) else None

    def standard_error(self, metric: str, mean: float, se: float) -> float:
        if metric == "perplexity":
            return numbers_of(mean, None)[metric] * se
        return se / math.log(2) / (self.bytes_per_token or 1.0) if metric == "bits_per_byte" else se

    def describe(self, outputs: Tensor, targets: Tensor) -> list[tuple[str, str, Any]]:
        """The last eight tokens, the likeliest ones in their places, and the loss per token of the sequence."""
        losses, counts = sums_of_losses(outputs, targets)
        scores = (losses / counts).float().cpu().numpy()
        rows = zip(targets[:, -8:].tolist(), outputs[:, -8:].argmax(-1).tolist(), scores, strict=True)
        return [(" ".join(map(str, target)), " ".join(map(str, guess)), score) for target, guess, score in rows]

    def chance_over(self, batches: Iterable[Batch]) -> dict[str, float]:
        """Of the frequencies of the training tokens, without regard to what came before."""
        if not self.counts.any():
            return {}
        nats = -((self.counts.double().cpu() + 1) / (self.counts.sum().item() + len(self.counts))).log()
        seen = torch.zeros_like(nats)
        for batch in batches:
            seen += torch.bincount(_counted(self.targets(batch)).cpu(), minlength=len(nats))
        return numbers_of((seen * nats).sum().item() / seen.sum().item(), self.bytes_per_token)


class LanguageModellingMetrics(Metric):
    """`loss` (nats per token), `perplexity`, and `bits_per_byte` where it is known how long a token is."""

    full_state_update = False
    loss_sum: Tensor
    tokens: Tensor

    def __init__(self, bytes_per_token: float | None) -> None:
        super().__init__()
        self._bytes_per_token = bytes_per_token
        self.add_state("loss_sum", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("tokens", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: tuple[Tensor, Tensor], targets: Tensor) -> None:
        """The losses and the counts of sequences, each (n,)."""
        losses, counts = outputs
        self.loss_sum += losses.sum()
        self.tokens += counts.sum()

    def compute(self) -> dict[str, float]:
        """The metrics of everything that was seen, on all ranks."""
        return numbers_of(self.loss_sum.item() / max(self.tokens.item(), 1), self._bytes_per_token)


def sums_of_losses(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each sequence, the sum of its tokens' losses in float64, and how many count, each (n,).

    The logits are the largest thing in a language model: they are not made float64.
    """
    losses = F.cross_entropy(
        at_least_float32(outputs).flatten(0, -2), targets.flatten(), ignore_index=PADDING, reduction="none"
    )
    return losses.reshape(targets.shape).double().sum(-1), (targets != PADDING).sum(-1)


def _counted(targets: Tensor) -> Tensor:
    """The tokens that count, in one line; bytes have no −100."""
    tokens = targets.long()
    return tokens[tokens != PADDING]


def numbers_of(nats: float, bytes_per_token: float | None) -> dict[str, float]:
    """The three names of a loss per token."""
    bits = {} if bytes_per_token is None else {"bits_per_byte": nats / math.log(2) / bytes_per_token}
    return {"loss": nats, "perplexity": math.exp(min(nats, 700.0))} | bits  # e^710 is no float64
