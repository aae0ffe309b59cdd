"""Evaluation counts each example once, whatever the batch size, and leaves the model and the generators alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision.precision import Precision
from torch import nn

from playbook.data import PassLoader, TensorSplit
from playbook.tasks import Classification, Regression
from playbook.training.evaluation import evaluate

NUM_EXAMPLES = 11
BATCH_SIZES = [1, 4, 11, 100]


@pytest.fixture
def inputs():
    return torch.randn(NUM_EXAMPLES, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labelled(inputs):
    return TensorSplit(inputs, torch.tensor([0, 1, 2, 0, 0, 2, 1, 0, 2, 2, 0]))


@pytest.fixture
def classification(labelled):
    return Classification(train_targets=labelled.targets, num_classes=3)


def metrics_of(model, task, split, batch_size):
    return evaluate(model, task, PassLoader(split, batch_size=batch_size), precision=Precision())


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_classification_equals_sums_over_the_examples(labelled, classification, batch_size):
    model = nn.Linear(5, 3)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (model.weight, model.bias))
    loss, hits = 0.0, np.zeros(3)
    for x, y in zip(labelled.inputs.numpy().astype(np.float64), labelled.targets.tolist(), strict=True):
        outputs = weight @ x + bias
        loss += np.log(np.exp(outputs).sum()) - outputs[y]
        hits[y] += outputs.argmax() == y
    found = metrics_of(model, classification, labelled, batch_size)
    assert found.pop("loss") == pytest.approx(loss / NUM_EXAMPLES, rel=1e-6)
    counts = {f"correct/{c}": hits[c] for c in range(3)} | {"examples/0": 5, "examples/1": 2, "examples/2": 4}
    assert found == pytest.approx({"error": 1 - hits.sum() / 11, "accuracy": hits.sum() / 11} | counts, abs=1e-12)


@pytest.mark.parametrize("batch_size", BATCH_SIZES)
def test_regression_equals_sums_over_the_examples(inputs, batch_size):
    targets = 100 + 30 * torch.randn(NUM_EXAMPLES, 2, generator=torch.Generator().manual_seed(1))
    training_targets = 90 + 20 * torch.randn(40, 2, generator=torch.Generator().manual_seed(2))
    task, model = Regression(train_targets=training_targets, num_classes=None), nn.Linear(5, 2)
    weight, bias = (p.detach().numpy().astype(np.float64) for p in (model.weight, model.bias))
    y = targets.numpy().astype(np.float64)
    mean, std = training_targets.numpy().astype(np.float64).mean(0), training_targets.numpy().std(0)
    predictions = (inputs.numpy() @ weight.T + bias) * std + mean
    squares = (predictions - y) ** 2
    expected = {
        "error": np.sqrt(squares.mean()),  # in the units of the targets
        "loss": (squares / std**2).mean(),  # in standard deviations of the training targets
        "r2": np.mean(1 - squares.mean(0) / y.var(0)),
    }
    found = metrics_of(model, task, TensorSplit(inputs, targets), batch_size)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_batch_size_does_not_change_a_metric(labelled, classification):
    model = nn.Linear(5, 3)
    whole, *others = (metrics_of(model, classification, labelled, size) for size in (11, 1, 4, 100))
    for other in others:
        assert other == pytest.approx(whole, rel=1e-7)


def test_further_metrics_are_exact_too(labelled):
    from torchmetrics.classification import MulticlassF1Score

    task = Classification(labelled.targets, 3, metrics={"f1": MulticlassF1Score(num_classes=3)})
    model = nn.Linear(5, 3)
    labels, predicted = labelled.targets.numpy(), model(labelled.inputs).argmax(-1).numpy()
    scores = []
    for c in range(3):
        hits = np.sum((labels == c) & (predicted == c))
        scores.append(2 * hits / (np.sum(labels == c) + np.sum(predicted == c)))
    for batch_size in BATCH_SIZES:
        assert metrics_of(model, task, labelled, batch_size)["f1"] == pytest.approx(np.mean(scores), rel=1e-6)


def test_the_model_is_in_evaluation_mode_and_then_as_it_was(labelled, classification):
    modes = []
    model = nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3), nn.Dropout(0.9))
    model.train()
    model[1].eval()  # a frozen part stays frozen
    model.register_forward_hook(lambda *_: modes.append([m.training for m in model.modules()]))
    statistics = model[0].running_mean.clone(), model[0].running_var.clone(), model[0].num_batches_tracked.clone()
    before = [m.training for m in model.modules()]
    metrics_of(model, classification, labelled, 4)
    assert modes == [[False] * 4] * 3
    assert [m.training for m in model.modules()] == before == [True, True, False, True]
    for old, new in zip(statistics, model[0].buffers(), strict=True):
        assert torch.equal(old, new)


def test_the_mode_comes_back_after_an_error_too(labelled, classification):
    model = nn.Linear(7, 3)  # the inputs have 5 features
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        metrics_of(model, classification, labelled, 4)
    assert model.training


def test_dropout_is_off_and_no_random_number_is_drawn(labelled, classification):
    linear = nn.Linear(5, 3)
    state = torch.get_rng_state()
    dropping = metrics_of(nn.Sequential(linear, nn.Dropout(0.9)), classification, labelled, 4)
    assert dropping == metrics_of(linear, classification, labelled, 4)
    assert torch.equal(state, torch.get_rng_state())


def test_no_graph_is_kept(labelled, classification):
    model, outputs = nn.Linear(5, 3), []
    model.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    metrics_of(model, classification, labelled, 4)
    assert [output.requires_grad for output in outputs] == [False] * 3


def test_the_evaluations_of_a_trial(run_trial):
    # Batch norm and dropout: recomputed by hand from the kept weights, with the running statistics.
    run = run_trial("model.norm=batch", "model.dropout=0.5", "model.width=16", "keep_best=3")
    val = run.config.data.build().load("val")
    for step in (0, 5, 10):
        with torch.no_grad():
            probabilities = torch.cat([run.model(step)(x[None]) for x in val.inputs]).double().numpy()
        recorded = dict(run.evals.filter(step=step).select("metric", "value").iter_rows())
        missed = probabilities.argmax(1) != val.targets.numpy()
        loss = -np.log(probabilities[np.arange(len(val)), val.targets.numpy()]).mean()
        assert recorded["val/error"] == pytest.approx(missed.mean(), abs=1e-12)
        assert recorded["val/accuracy"] == pytest.approx(1 - missed.mean(), abs=1e-12)
        assert recorded["val/loss"] == pytest.approx(loss, rel=1e-5)
        correct = np.bincount(val.targets.numpy()[~missed], minlength=10)
        assert [recorded[f"val/correct/{c}"] for c in range(10)] == correct.tolist()
        sizes = {f"val/examples/{c}": n for c, n in enumerate(np.bincount(val.targets.numpy()))}
        assert {name: value for name, value in recorded.items() if "examples" in name} == (sizes if step == 0 else {})


def test_a_frozen_part_stays_frozen(run_trial, monkeypatch):
    """A fork that puts its backbone's batch norm into evaluation mode finds it so in every step."""
    from playbook.training.loop import TrialLoop

    modes = []
    step = TrialLoop.training_step

    def watched(self, batch, batch_idx):
        norm = next(m for m in self.model.modules() if isinstance(m, torch.nn.BatchNorm1d))
        modes.append(norm.training)
        if self.step == 2:
            norm.eval()
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TrialLoop, "training_step", watched)
    run_trial("model.norm=batch", "max_steps=10", "eval_every=5")
    assert modes == [True] * 3 + [False] * 7
