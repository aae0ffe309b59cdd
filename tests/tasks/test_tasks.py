"""What every task has: metrics of the config in the targets' units, and defaults for what a fork need not say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision.precision import Precision
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanAbsoluteError, MeanMetric, Metric, R2Score
from torchmetrics.classification import MulticlassAUROC, MulticlassCalibrationError, MultilabelAUROC

from playbook.data import PassLoader, TensorSplit
from playbook.errors import InputError
from playbook.tasks import Classification, Multilabel, Regression, Task
from playbook.training import train
from playbook.training.evaluation import evaluate

MAE = "+task.metrics.mae={_target_: torchmetrics.MeanAbsoluteError}"


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("batch_size", [1, 4, 11])
def test_metrics_of_a_regression_are_in_the_units_of_the_targets(batch_size: int) -> None:
    inputs, targets, training = draw(11, 5, seed=0), 150 + 30 * draw(11, 2, seed=1), 140 + 20 * draw(40, 2, seed=2)
    task = Regression(training, None, metrics={"mae": MeanAbsoluteError(), "r2_score": R2Score()})
    model = nn.Linear(5, 2)
    weight, bias = (p.detach().double().numpy() for p in (model.weight, model.bias))
    outputs = inputs.double().numpy() @ weight.T + bias
    predictions = outputs * training.double().numpy().std(0) + training.double().numpy().mean(0)
    errors = predictions - targets.double().numpy()
    found = evaluate(
        model, task, PassLoader(TensorSplit(inputs, targets), batch_size=batch_size), precision=Precision()
    )
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    # The task's own r2 comes from the standardised outputs: two ways to one number.
    assert found["r2_score"] == pytest.approx(found["r2"], rel=1e-4)


def test_the_mean_absolute_error_of_a_trial_is_that_of_its_predictions(run_trial) -> None:
    run = run_trial("data=diabetes", "task=regression", "lr=0.02", "max_steps=100", "eval_every=100", MAE)
    validation = run.config.data.build().load("val")
    by_hand = (run.model(100)(validation.inputs) - validation.targets).abs().mean().item()
    recorded = dict(run.evals.filter(step=100).select("metric", "value").iter_rows())
    assert recorded["val/mae"] == pytest.approx(by_hand, rel=1e-5)
    assert recorded["val/mae"] < recorded["val/error"]  # a mean is at most the root mean square of the same errors


def test_metrics_of_a_classification_see_probabilities() -> None:
    # Outputs between 0 and 1 are what torchmetrics would take for probabilities, though they are logits.
    inputs, targets = 0.2 * draw(60, 3, seed=0).abs(), torch.arange(60) % 3
    metrics = {"auroc": MulticlassAUROC(3), "ece": MulticlassCalibrationError(3, n_bins=1)}
    task = Classification(targets, 3, metrics=metrics)
    assert inputs.max() < 1
    found = evaluate(nn.Identity(), task, PassLoader(TensorSplit(inputs, targets), batch_size=7), precision=Precision())
    probabilities = np.exp(inputs.double().numpy())
    probabilities /= probabilities.sum(1, keepdims=True)
    accuracy = np.mean(probabilities.argmax(1) == targets.numpy())
    assert found["ece"] == pytest.approx(abs(probabilities.max(1).mean() - accuracy), abs=1e-5)
    areas = []
    for label in range(3):
        positive, negative = (probabilities[chosen, label] for chosen in (targets == label, targets != label))
        pairs = positive[:, None] - negative[None]
        areas.append(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert found["auroc"] == pytest.approx(np.mean(areas), abs=1e-5)


@pytest.mark.parametrize("task", [Classification(torch.arange(3), 3), Regression(150 + draw(9, 2, seed=0), None)])
def test_predictions_of_bfloat16_outputs_are_not_rounded_again(task: Task) -> None:
    outputs = draw(4, task.num_outputs, seed=1).bfloat16()
    torch.testing.assert_close(task.predict(outputs), task.predict(outputs.float()), rtol=0, atol=0)
    assert task.predict(outputs.double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("task", "targets", "num_classes", "line"),
    [
        (Regression, torch.zeros(50), None, r"task=regression: .* torch.float32 \(50,\); float32 \(n, k\) is needed"),
        (Regression, torch.zeros(50, 1, dtype=torch.int64), None, r"torch.int64 \(50, 1\); float32 \(n, k\)"),
        (Regression, None, None, r"are none; float32 \(n, k\)"),
        (
            Classification,
            torch.zeros(50, 1),
            None,
            "task=classification: .* real-valued targets; choose task=regression",
        ),
        (Classification, torch.zeros(50), 3, "task=classification: targets are torch.float32, .* whole numbers"),
        (Classification, torch.arange(50), None, "the data do not say how many classes there are"),
    ],
)
def test_targets_of_another_kind_are_refused(task, targets, num_classes, line) -> None:
    with pytest.raises(InputError, match=line):
        task(targets, num_classes)


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        (torch.zeros(5), r"are \(5,\); \(n, labels\) is needed"),
        (None, r"are none; \(n, labels\) is needed"),
        (torch.full((5, 2), 0.5), "zeros and ones"),
    ],
)
def test_labels_that_are_none_are_refused(targets, line) -> None:
    with pytest.raises(InputError, match=f"task=multilabel: .*{line}"):
        Multilabel(targets)


def test_a_multilabel_evaluation_equals_sums_over_the_labels() -> None:
    inputs, targets = draw(30, 4, seed=0), (draw(30, 3, seed=1) > 0).float()
    task, model = Multilabel(targets, metrics={"auroc": MultilabelAUROC(3)}), nn.Linear(4, 3)
    found = evaluate(model, task, PassLoader(TensorSplit(inputs, targets), batch_size=7), precision=Precision())
    p = 1 / (1 + np.exp(-model(inputs).detach().double().numpy()))
    y = targets.numpy()
    assert found["loss"] == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), rel=1e-6)
    wrong = (p > 0.5) != y
    assert found["error"] == pytest.approx(wrong.mean())
    assert [found[f"error/{label}"] for label in range(3)] == pytest.approx(wrong.mean(0).tolist())
    pairs = [p[y[:, k] == 1, k][:, None] > p[y[:, k] == 0, k] for k in range(3)]
    assert found["auroc"] == pytest.approx(np.mean([pair.mean() for pair in pairs]), rel=1e-5)
    frequencies = (y.sum(0) + 1) / (30 + 2)
    expected = -(y * np.log(frequencies) + (1 - y) * np.log(1 - frequencies)).mean()
    assert task.chance(targets) == pytest.approx({"error": ((frequencies > 0.5) != y).mean(), "loss": expected})


# What a fork's own task needs.


class MeanSquares(Metric):
    """The least that a task's own metric is; `names` are what it gives."""

    total: Tensor
    count: Tensor

    def __init__(self, names: tuple[str, ...] = ("error", "loss")) -> None:
        super().__init__()
        self.names = names
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += (outputs - targets).square().mean(-1).sum()
        self.count += len(targets)

    def compute(self) -> dict[str, float]:
        return dict.fromkeys(self.names, (self.total / self.count).item())


class Least(Task):
    """The three things that a task has to say."""

    def __init__(self, train_targets: Tensor, names: tuple[str, ...] = ("error", "loss"), metrics=None) -> None:
        super().__init__(metrics)
        self.num_outputs = train_targets.shape[1]
        self.names = names

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def own_metrics(self) -> Metric:
        return MeanSquares(self.names)


@pytest.fixture
def least(trial_config, monkeypatch):
    """The config of a trial with that task."""
    from playbook import components
    from playbook.config import load_config

    monkeypatch.setattr(components, "own_packages", lambda: (__name__,))

    def make(**arguments):
        plain = trial_config("data=diabetes", "task=regression", "optimizer=adam").plain()
        return load_config(plain | {"task": {"_target_": f"{__name__}.Least", **arguments}})

    return make


def test_a_task_of_three_methods_trains_and_is_read_back(least) -> None:
    import playbook

    config = least()
    result = train(config, verbose=False)
    assert (result.status, result.chance, result.above_chance) == ("complete", None, None)
    run = playbook.load_run(config.output_dir)
    best = run.model()(run.config.data.build().load("val").inputs)
    assert best.shape == (len(run.config.data.build().load("val")), 1)
    rows = run.predictions.filter(step=10)
    distances = (rows["target"].cast(float) - rows["prediction"].cast(float)).abs()
    assert rows["score"].to_list() == pytest.approx(distances.to_list(), rel=1e-4)


@pytest.mark.parametrize(
    ("targets", "rows"),
    [
        (torch.tensor([[1.0, 2.0], [0.0, 0.5]]), [("1 2", "3 2", 1.0), ("0 0.5", "0 1.5", 0.5)]),
        (torch.tensor([1, 0]), [("1", "3 2", None), ("0", "0 1.5", None)]),  # of another shape: no distance
    ],
)
def test_what_is_kept_to_look_at(targets: Tensor, rows: list[tuple[str, str, float | None]]) -> None:
    described = Least(torch.zeros(1, 2)).describe(torch.tensor([[3.0, 2.0], [0.0, 1.5]]), targets)
    assert [(row[0], row[1], None if np.isnan(row[2]) else row[2]) for row in described] == rows


def test_a_metric_of_the_name_of_the_tasks_own_is_refused(least) -> None:
    with pytest.raises(InputError, match=r"^task\.metrics\.error: the task has a metric of this name"):
        train(least(metrics={"error": {"_target_": "torchmetrics.MeanAbsoluteError"}}), verbose=False)


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        ({"_target_": "torchmetrics.classification.MulticlassF1Score", "num_classes": -1}, r"task\.metrics\.m: "),
        ({"_target_": f"{__name__}.Breaks"}, r"task\.metrics: 'no such part'"),
    ],
)
def test_a_metric_that_raises_is_one_line(least, tmp_path, metric, line) -> None:
    with pytest.raises(InputError, match=rf"^{line}[^\n]*HYDRA_FULL_ERROR=1 shows where\)$"):
        train(least(metrics={"m": metric}), verbose=False)
    assert list(tmp_path.iterdir()) == []


class Breaks(MeanMetric):
    """A metric with a bug."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        raise KeyError("no such part")
