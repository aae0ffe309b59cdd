"""Micro-batches: the gradient and the record of the whole batch, with one graph at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from playbook.batch import Batch
from playbook.models import MLP
from playbook.tasks import LanguageModelling
from playbook.training.distributed import Rank
from playbook.training.micro_batches import weighted_loss


@pytest.mark.parametrize("size", [1, 5, 16, 40])
def test_a_trial_has_the_numbers_of_the_whole_batch(run_trial, size):
    settings = ("trainer.precision=64-true", "optimizer=momentum", "lr=0.1", "clip_norm=1", "model.width=16")
    whole = run_trial(*settings, folder="whole")
    parts = run_trial(*settings, f"trainer.micro_batch_size={size}")
    for column in ("loss", "grad_norm"):
        assert parts.steps[column].to_list() == pytest.approx(whole.steps[column].to_list(), rel=1e-12)
    weights = [nn.utils.parameters_to_vector(run.model().parameters()) for run in (whole, parts)]
    torch.testing.assert_close(*weights, rtol=1e-12, atol=1e-12)


def test_tokens_that_do_not_count_have_no_weight():
    task, model = LanguageModelling(None, vocab_size=5), nn.Embedding(5, 5).double()
    inputs = torch.randint(5, (6, 4), generator=torch.Generator().manual_seed(0))
    targets = inputs.roll(1, 1)
    targets[1, 1:], targets[4] = -100, -100
    batch = Batch(inputs, targets)
    whole = task.training_loss(model, batch)
    (expected,) = torch.autograd.grad(whole, list(model.parameters()))
    for size in (1, 2, 3, 4):
        model.zero_grad()
        loss = weighted_loss(task, model, batch, size, Rank())
        loss.backward()
        assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
        torch.testing.assert_close(model.weight.grad, expected, rtol=1e-12, atol=1e-15)


def test_ranks_have_the_gradient_of_all_tokens(monkeypatch):
    """Two ranks with different numbers of tokens: the mean of their losses is the loss of the batch."""
    task, model = LanguageModelling(None, vocab_size=5), nn.Embedding(5, 5).double()
    inputs = torch.arange(24).reshape(6, 4) % 5
    targets = inputs.roll(1, 1)
    targets[:2] = -100
    whole = task.training_loss(model, Batch(inputs, targets)).item()
    shares = [Batch(inputs[:3], targets[:3]), Batch(inputs[3:], targets[3:])]
    total = sum(task.weight(share) for share in shares)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.copy_(total))
    losses = [weighted_loss(task, model, share, size, Rank(0, 2)).item() for share in shares for size in (None, 2)]
    assert [(losses[0] + losses[2]) / 2, (losses[1] + losses[3]) / 2] == pytest.approx([whole] * 2, rel=1e-12)


def test_the_graph_of_one_micro_batch_is_alive_at_a_time(run_trial, monkeypatch):
    alive, most = [0], [0]

    class Held(torch.autograd.Function):
        @staticmethod
        def forward(ctx, inputs: Tensor) -> Tensor:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
            return inputs.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            alive[0] -= 1
            return grad

    forward = MLP.forward

    def counted(self, inputs):
        outputs = forward(self, inputs)
        return Held.apply(outputs) if self.training else outputs

    monkeypatch.setattr(MLP, "forward", counted)
    run_trial("trainer.micro_batch_size=8", "max_steps=3")
    assert (most[0], alive[0]) == (1, 0)


def test_batch_norm_is_said_once(run_trial, capfd):
    run_trial("trainer.micro_batch_size=3", "model.norm=batch", "max_steps=1")
    run_trial("trainer.micro_batch_size=3", "model.norm=batch", "max_steps=1", folder="again")
    said = [line for line in capfd.readouterr().err.splitlines() if "micro_batch_size=3" in line]
    assert len(said) == 1
    assert "statistics of micro-batches" in said[0]
    run_trial("trainer.micro_batch_size=4", "model.norm=layer", "max_steps=1", folder="layer")
    assert "micro" not in capfd.readouterr().err
