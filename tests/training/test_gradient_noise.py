"""The gradient noise scale: against the gradient of each example by itself; and the run stays what it is."""

import polars as pl
import pytest
import torch

from playbook.data import TensorSplit
from playbook.training import GradientNoiseScale, Weights
from playbook.training.gradient_noise import SCALE, SQUARED_NORM, VARIANCE, noise_of_slices

NOISE = "+trainer.callbacks.noise={_target_: playbook.training.GradientNoiseScale, every: 4, num_examples: 64}"


class SquaredError:
    def training_loss(self, model, batch):
        return ((model(batch.inputs) - batch.targets) ** 2).mean()


class PlainPrecision:
    def convert_input(self, data):
        return data

    def forward_context(self):
        return torch.enable_grad()


def of_linear_regression(num_examples, step=0):
    torch.manual_seed(1)
    split = TensorSplit(torch.randn(num_examples, 3), torch.randn(num_examples, 1))
    model = torch.nn.Linear(3, 1)
    return Weights(step, model, SquaredError(), split, torch.device("cpu"), PlainPrecision(), seed=0)


def gradient_of_each(weights):
    rows = []
    for index in range(len(weights.train)):
        loss = weights.task.training_loss(weights.model, weights.train.batch(torch.tensor([index])))
        rows.append(torch.cat([each.flatten() for each in torch.autograd.grad(loss, list(weights.model.parameters()))]))
    return torch.stack(rows)


def test_the_variance_and_the_norm_are_those_of_the_gradients_of_all_examples():
    weights = of_linear_regression(64)
    each = gradient_of_each(weights)
    variance, squared_norm = float(each.var(dim=0).sum()), float(each.mean(dim=0).square().sum())
    callback = GradientNoiseScale(num_examples=64, num_slices=16)
    found = [callback.measure(of_linear_regression(64, step)) for step in range(300)]
    for measured in found:  # the batch is the whole split
        assert measured[SQUARED_NORM] == pytest.approx(squared_norm, rel=1e-4)
        assert measured[SCALE] == pytest.approx(measured[VARIANCE] / measured[SQUARED_NORM])
    variances = torch.tensor([measured[VARIANCE] for measured in found])
    assert abs(float(variances.mean()) - variance) < 4 * float(variances.std()) / 300**0.5
    assert float(variances.std()) < 0.5 * variance


def test_a_part_of_the_split_is_enough_on_the_average():
    weights = of_linear_regression(200)
    squared_norm = float(gradient_of_each(weights).mean(dim=0).square().sum())
    callback = GradientNoiseScale(num_examples=40, num_slices=10)
    found = [callback.measure(of_linear_regression(200, step))[SQUARED_NORM] for step in range(400)]
    estimates = torch.tensor(found)
    assert abs(float(estimates.mean()) - squared_norm) < 4 * float(estimates.std()) / 400**0.5


def test_two_batches_of_known_noise():
    # E|G_B|^2 = |G|^2 + tr(Sigma)/B with |G|^2 = 2 and tr(Sigma) = 30
    assert noise_of_slices(2 + 30 / 4, 2 + 30 / 64, slice_size=4, batch_size=64) == pytest.approx((30, 2))


def test_nothing_is_measured_where_nothing_is_due_or_too_few_are_there():
    assert GradientNoiseScale(every=5).measure(of_linear_regression(64, step=3)) == {}
    assert GradientNoiseScale(num_slices=16).measure(of_linear_regression(15)) == {}


def test_buffers_are_left_as_they_are():
    weights = of_linear_regression(64)
    model = torch.nn.Sequential(weights.model, torch.nn.BatchNorm1d(1))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    GradientNoiseScale().measure(Weights(**{**vars(weights), "model": model}))
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_run_is_the_same_to_the_last_bit_and_records_it(run_trial):
    noisy = ("model.norm=batch", "model.dropout=0.2", "max_steps=10", "eval_every=2", "batch_size=16")
    plain, measured = run_trial(*noisy, folder="plain"), run_trial(*noisy, NOISE, folder="measured")
    columns = ["step", "loss", "grad_norm", "lr"]
    assert plain.steps.select(columns).equals(measured.steps.select(columns))
    own = pl.col("metric").str.starts_with("gradient_noise/")
    assert plain.evals.equals(measured.evals.filter(~own))
    recorded = measured.evals.filter(pl.col("metric") == VARIANCE)
    assert recorded["step"].to_list() == [0, 4, 8]
    assert (recorded["value"] > 0).all()
