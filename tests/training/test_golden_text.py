"""The numbers of `experiment=text_transformer`: those of a plain PyTorch loop, and those of when this was written."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from playbook.data import Text
from playbook.data.order import StepOrder
from playbook.models import Transformer
from playbook.randomness import Stream, fold_in

WARMUP_STEPS, MAX_STEPS, BATCH_SIZE, CONTEXT, SEED = 4, 12, 2, 32, 5
SHARES = ["data.val_fraction=0.0005", "data.test_fraction=0.999"]  # to evaluate takes no longer than to train
LR, DROPOUT, CLIP_NORM = 0.003, 0.1, 1.0
WIDTH, DEPTH, HEADS = 128, 4, 4

# fmt: off
GOLDEN_LOSSES = [
    5.569552, 5.492032, 5.163343, 4.861331, 4.667395, 4.522481, 4.006109, 4.704288,
    3.574000, 3.392821, 3.605534, 3.234384, 3.376775, 3.295599, 3.398898, 3.121161,
]
# fmt: on


def plain_outputs(weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """A decoder with rotary positions and tied embeddings, pre-norm, in training: written out, without our modules."""
    head_width = WIDTH // HEADS
    frequencies = 10_000.0 ** (-torch.arange(0, head_width, 2).double() / head_width)
    turns = torch.polar(torch.ones(()).double(), torch.arange(tokens.shape[1]).double()[:, None] * frequencies)
    hidden_from = torch.full((tokens.shape[1], tokens.shape[1]), -math.inf, dtype=torch.float64).triu(1)

    def mapped(values, name):
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def normalised(values, name):
        centred = values - values.mean(-1, keepdim=True)
        scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def turned(values):
        """(n, heads, length, head_width): the first half of the features are real parts, the second imaginary ones."""
        pairs = torch.complex(*values.chunk(2, -1)) * turns
        return torch.cat([pairs.real, pairs.imag], -1)

    stream = F.dropout(weights["token_embedding.weight"][tokens], DROPOUT)
    for layer in range(DEPTH):
        name = f"blocks.layers.{layer}"
        query, key, value = (
            part.unflatten(-1, (HEADS, head_width)).transpose(1, 2)
            for part in mapped(normalised(stream, f"{name}.attention.norm"), f"{name}.attention.branch.qkv").chunk(
                3, -1
            )
        )
        scores = turned(query) @ turned(key).transpose(-1, -2) / math.sqrt(head_width) + hidden_from
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        stream = stream + F.dropout(mapped(mixed, f"{name}.attention.branch.output"), DROPOUT)
        hidden = mapped(normalised(stream, f"{name}.mlp.norm"), f"{name}.mlp.branch.0")
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        stream = stream + F.dropout(mapped(hidden, f"{name}.mlp.branch.2"), DROPOUT)
    return normalised(stream, "blocks.last_norm") @ weights["token_embedding.weight"].T


@pytest.fixture(scope="module")
def plain_losses() -> list[float]:
    """The loss of each step before its update, of torch's AdamW without decay of norms and biases."""
    torch.set_num_threads(1)
    text = torch.frombuffer(bytearray(Text()._text.content.tobytes()), dtype=torch.uint8).long()
    train = text[: round(len(text) * 0.0005)]
    torch.manual_seed(fold_in(SEED, Stream.INITIALISATION))
    sizes = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "vocab_size": 256, "num_outputs": 256}
    model = Transformer(input_shape=(CONTEXT,), **sizes).double()
    weights = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    matrices = [value for value in weights.values() if value.ndim == 2]
    vectors = [value for value in weights.values() if value.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.999), eps=1e-8, foreach=False)
    order = StepOrder(len(train) - CONTEXT, batch_size=BATCH_SIZE, seed=SEED)
    losses = []
    for step in range(WARMUP_STEPS + MAX_STEPS):
        after = max(0, step - WARMUP_STEPS)
        rate = LR * step / WARMUP_STEPS if step < WARMUP_STEPS else LR * (1 - after / MAX_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(fold_in(fold_in(SEED, Stream.FORWARD, 0), step))
        windows = torch.stack([train[start : start + CONTEXT + 1] for start in order(step).tolist()])
        outputs = plain_outputs(weights, windows[:, :-1])
        loss = -outputs.log_softmax(-1).gather(-1, windows[:, 1:, None]).mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.cat([value.grad.flatten() for value in weights.values()]).norm()
        for value in weights.values():
            value.grad *= min(1.0, CLIP_NORM / norm.item())  # E7; clip_grad_norm_ divides by the norm + 1e-6
        optimizer.step()
        losses.append(loss.item())
    return losses


def losses_of(run_trial, *overrides: str) -> np.ndarray:
    steps = [f"max_steps={MAX_STEPS}", f"warmup_steps={WARMUP_STEPS}", "eval_every=1000", f"seed={SEED}"]
    sizes = [f"batch_size={BATCH_SIZE}", f"data.context={CONTEXT}", *SHARES]
    settings = [f"lr={LR}", f"model.dropout={DROPOUT}", f"clip_norm={CLIP_NORM}"]
    run = run_trial("experiment=text_transformer", *steps, *sizes, *settings, *overrides)
    return run.steps["loss"].to_numpy()


def test_the_curve_of_the_text_experiment_is_that_of_a_plain_loop(run_trial, plain_losses):
    # In float64: Adam divides by the size of a gradient, so that a rounding error of a small one is a whole step.
    np.testing.assert_allclose(losses_of(run_trial, "trainer.precision=64-true"), plain_losses, rtol=1e-6)


def test_the_curve_of_the_text_experiment_is_the_stored_one(run_trial):
    np.testing.assert_allclose(losses_of(run_trial), GOLDEN_LOSSES, rtol=1e-4)
