"""`examples.bin`: what each example had to say about the objective, at every evaluation, whatever the task."""

from __future__ import annotations

import math
import re
import shutil

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision.precision import Precision
from run_state import final_state, kill_at, snapshot
from torch import Tensor, nn

import playbook
from playbook.config import ObjectiveConfig
from playbook.data import PassLoader, TensorSplit
from playbook.errors import InputError
from playbook.examples import ExampleRecord, examples_of_run, read_examples
from playbook.run_files import EXAMPLES
from playbook.tasks import Classification, LanguageModelling, Multilabel, Reconstruction, Regression
from playbook.training import example_values, train
from playbook.training.distributed import Rank
from playbook.training.evaluation import evaluate
from playbook.training.example_values import ExampleValues

SMALL = ("model.width=8", "keep_best=1")
COUNT = 30


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape: int, classes: int) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(1))


def padded() -> Tensor:
    """Sequences of one to six tokens, and one of none."""
    tokens = labels(COUNT, 6, classes=5)
    return tokens.masked_fill(torch.arange(6) >= torch.arange(COUNT)[:, None] % 7, -100)


# Of each task: itself, outputs and targets, and what of the mean of the examples its metrics are.
TASKS = {
    "classification": lambda: (
        Classification(labels(COUNT, classes=3), 3),
        draw(COUNT, 3, seed=0),
        labels(COUNT, classes=3),
    ),
    "segmentation": lambda: (Classification(None, 3), draw(COUNT, 3, 4, 4, seed=0), labels(COUNT, 4, 4, classes=3)),
    "regression": lambda: (
        Regression(draw(COUNT, 2, seed=3) * 5 + 1, None),
        draw(COUNT, 2, seed=0),
        draw(COUNT, 2, seed=3) * 5 + 1,
    ),
    "multilabel": lambda: (
        Multilabel(labels(COUNT, 3, classes=2)),
        draw(COUNT, 3, seed=0),
        labels(COUNT, 3, classes=2),
    ),
    "language_modelling": lambda: (
        LanguageModelling(None, 5, bytes_per_token=2.5),
        draw(COUNT, 6, 5, seed=0),
        padded(),
    ),
    "reconstruction": lambda: (Reconstruction((4,)), draw(COUNT, 4, seed=0), draw(COUNT, 4, seed=1)),
}
METRICS = {
    ("classification", "error"): lambda mean: mean,
    ("classification", "accuracy"): lambda mean: 1 - mean,
    ("classification", "loss"): lambda mean: mean,
    ("segmentation", "error"): lambda mean: mean,
    ("segmentation", "accuracy"): lambda mean: -mean,
    ("segmentation", "loss"): lambda mean: mean,
    ("regression", "error"): math.sqrt,
    ("regression", "loss"): lambda mean: mean,
    ("multilabel", "error"): lambda mean: mean,
    ("multilabel", "loss"): lambda mean: mean,
    ("language_modelling", "loss"): lambda mean: mean,
    ("language_modelling", "perplexity"): math.exp,
    ("language_modelling", "bits_per_byte"): lambda mean: mean / math.log(2) / 2.5,
    ("reconstruction", "error"): math.sqrt,
    ("reconstruction", "loss"): lambda mean: mean,
}


class Passed(nn.Module):
    """The outputs are the inputs, whatever the task takes for its targets."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def evaluated(name: str, metric: str, tmp_path, **loading):
    """The metrics of an evaluation, and what was read back of its examples."""
    task, outputs, targets = TASKS[name]()
    if name == "reconstruction":
        task.targets = lambda batch: batch.targets
    split = TensorSplit(outputs, targets)
    objective = ObjectiveConfig(metric=f"val/{metric}", mode="max" if metric == "accuracy" else "min")
    examples = ExampleValues(objective, split, None, "", Rank())
    loader = PassLoader(split, batch_size=7, **loading)
    found = evaluate(Passed(), task, loader, precision=Precision(), objective=metric, examples=examples)
    said = examples.end()
    assert said is not None
    ExampleRecord(tmp_path).append(3, *said)
    recorded = examples_of_run(tmp_path)
    assert recorded is not None
    assert recorded.steps.tolist() == [3]
    return found, recorded.values[0], said[0]


@pytest.mark.parametrize(("name", "metric"), METRICS)
def test_the_mean_of_what_is_recorded_is_the_metric(tmp_path, name, metric):
    found, values, about = evaluated(name, metric, tmp_path)
    assert METRICS[name, metric](values.astype(float).mean()) == pytest.approx(found[metric], rel=1e-6)
    assert (about.examples, about.judged) == (COUNT, COUNT)
    assert about.values == (
        "bits" if (name, metric[0]) in {("classification", "e"), ("classification", "a")} else "float32"
    )


@pytest.mark.parametrize("name", ["classification", "language_modelling"])
def test_the_spread_of_what_is_recorded_is_the_standard_error(tmp_path, name):
    """That of a language model is the error of a ratio, since sequences have other lengths; some have no token."""
    found, values, _ = evaluated(name, "loss", tmp_path)
    seen = COUNT - 5 if name == "language_modelling" else COUNT
    error = math.sqrt((values.astype(float) - values.mean()).__pow__(2).sum() * seen / (seen - 1)) / COUNT
    assert error == pytest.approx(found["loss_se"], rel=1e-5)


def test_a_large_split_is_recorded_on_a_sample_that_is_always_the_same(tmp_path, monkeypatch):
    whole = evaluated("classification", "loss", tmp_path)[1]
    monkeypatch.setattr(example_values, "MOST_BITS", 20)
    monkeypatch.setattr(example_values, "MOST_FLOATS", 8)
    samples = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        _, values, about = evaluated("classification", "loss", tmp_path / folder)
        assert (about.examples, about.judged) == (8, COUNT)
        samples.append(values.tolist())
    assert samples[0] == samples[1]
    places = [whole.tolist().index(value) for value in samples[0]]
    assert places == sorted(places)
    assert len(set(places)) == 8


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    from conftest import config_of

    config = config_of(tmp_path_factory.mktemp("whole") / "run", *SMALL, "max_steps=20")
    train(config, verbose=False)
    return playbook.load_run(config.output_dir)


def test_of_every_evaluation_of_a_trial_each_example_missed_or_not(uninterrupted):
    run = uninterrupted
    errors = run.evals.filter(metric="val/error")
    examples = run.examples
    assert examples.steps.tolist() == errors["step"].to_list() == [0, 5, 10, 15, 20]
    assert examples.values.astype(float).mean(1).tolist() == pytest.approx(errors["value"].to_list(), abs=1e-12)
    validation = run.config.data.build().load("val")
    step = run.best_steps[0]
    missed = run.model()(validation.inputs).argmax(-1) != validation.targets
    assert examples.at(step).tolist() == missed.float().tolist()
    assert examples.at(7) is None
    assert (run.path / "examples.bin").stat().st_size < 500 + 5 * (8 + 45)  # 359 bits


@pytest.mark.parametrize("step", [2, 8, 19])
def test_killed_and_gone_on_it_is_the_same_to_the_byte(trial_config, tmp_path, uninterrupted, step):
    config = trial_config(*SMALL, "max_steps=20")
    kill_at(config, step)
    with (tmp_path / "run" / "examples.bin").open("ab") as file:
        file.write(b"a record that no commit knows of")
    train(config, verbose=False)
    assert final_state(tmp_path / "run") == final_state(uninterrupted.path)
    assert examples_of_run(tmp_path / "run").steps.tolist() == [0, 5, 10, 15, 20]


def test_a_run_of_before_there_was_a_record_goes_on_and_has_one_from_then_on(trial_config, tmp_path, monkeypatch):
    from playbook.training.state import RunState

    with monkeypatch.context() as before:
        real = RunState.plain

        def plain(state):
            state.tables.pop(EXAMPLES, None)
            return real(state)

        before.setattr(RunState, "plain", plain)
        before.setattr(ExampleRecord, "append", lambda *_: None)
        kill_at(trial_config(*SMALL), 7)
    assert not (tmp_path / "run" / EXAMPLES).exists()
    assert train(trial_config(*SMALL), verbose=False).status == "complete"
    run = playbook.load_run(tmp_path / "run")
    assert run.examples.steps.tolist() == [10]
    assert run.examples.values.mean() == pytest.approx(run.evals.filter(step=10, metric="val/error")["value"].item())


def test_a_file_of_other_examples_is_left_as_it_is(trial_config, tmp_path):
    """`resume=force` goes on with other data: the record ends where they changed."""
    kill_at(trial_config(*SMALL), 7)
    path = tmp_path / "run" / "examples.bin"
    about = read_examples(tmp_path / "run")
    assert about.steps.tolist() == [0, 5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example_values, "MOST_BITS", 100)
        train(trial_config(*SMALL), verbose=False)
    assert examples_of_run(path.parent).steps.tolist() == [0, 5]


def test_the_objective_of_averaged_weights_is_theirs(run_trial):
    run = run_trial(*SMALL, "averaging=ema", "averaging.decay=0.7", "objective.metric=val_avg/error")
    errors = run.evals.filter(metric="val_avg/error")["value"].to_list()
    assert run.examples.values.astype(float).mean(1).tolist() == pytest.approx(errors, abs=1e-12)
    assert errors != run.evals.filter(metric="val/error")["value"].to_list()
    assert (run.result.n_examples, run.result.objective_se > 0) == (359, True)


@pytest.mark.parametrize(("metric", "name"), [("train/error", "val/error"), ("train/eval_loss", "val/loss")])
def test_an_objective_of_the_training_split_has_its_own_examples(run_trial, metric, name):
    run = run_trial(*SMALL, f"objective.metric={metric}")
    recorded = run.evals.filter(metric=metric)["value"].to_list()
    assert run.examples.values.astype(float).mean(1).tolist() == pytest.approx(recorded, rel=1e-6)
    assert run.result.n_examples == run.examples.values.shape[1] == len(run.config.data.build().load("train"))
    assert run.result.objective_se == run.evals.filter(metric=f"{metric}_se", step=run.result.best_step)["value"].item()
    assert f"{name}_se" not in run.evals["metric"]


def test_where_a_sample_is_judged_it_is_of_that_sample(run_trial):
    run = run_trial(*SMALL, "eval_examples=100")
    errors = run.evals.filter(metric="val/error")["value"].to_list()
    assert run.examples.values.shape == (3, 100)
    assert run.examples.values.astype(float).mean(1).tolist() == pytest.approx(errors, abs=1e-12)


def test_an_objective_that_is_no_mean_has_no_record(run_trial):
    run = run_trial("data=diabetes", "task=regression", *SMALL, "objective.metric=val/r2", "objective.mode=max")
    assert run.examples is None
    assert not (run.path / "examples.bin").exists()
    assert (run.result.objective_se, run.result.n_examples) == (None, 88)


def test_a_trial_that_diverges_has_what_was_recorded(run_trial):
    run = run_trial("data=diabetes", "task=regression", "lr=1e30", "schedule=constant", *SMALL)
    assert run.result.status == "infeasible"
    assert run.examples.steps.tolist() == run.evals["step"].unique(maintain_order=True).to_list()


@pytest.mark.parametrize("damage", ["deleted", "cut", "a bit"])
def test_damage_is_noticed(trial_config, tmp_path, uninterrupted, damage):
    def harm(path):
        data = path.read_bytes()
        path.unlink() if damage == "deleted" else path.write_bytes(
            data[:-9] if damage == "cut" else data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        )

    shutil.copytree(uninterrupted.path, tmp_path / "finished")
    harm(tmp_path / "finished" / "examples.bin")
    with pytest.raises(InputError, match=r"examples.bin: rows are missing"):
        _ = playbook.load_run(tmp_path / "finished").examples
    config = trial_config(*SMALL)
    kill_at(config, 7)
    harm(tmp_path / "run" / "examples.bin")
    before = snapshot(tmp_path / "run")
    with pytest.raises(InputError, match=r"examples.bin: rows are missing .*overwrite=true$"):
        train(config, verbose=False)
    assert snapshot(tmp_path / "run") == before


@pytest.mark.parametrize("line", ["nonsense\n", '{"metric": 1}\n', '{"version": 2}\n'])
def test_a_first_line_that_is_none_is_one_line(tmp_path, line):
    (tmp_path / "examples.bin").write_text(line)
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "examples.bin"))):
        read_examples(tmp_path)


def test_records_that_are_being_written_are_read_as_far_as_they_are_whole(tmp_path, uninterrupted):
    data = (uninterrupted.path / "examples.bin").read_bytes()
    size = 8 + 45
    for missing in (1, size - 1, size, size + 1, len(data) - 1, len(data)):
        (tmp_path / "examples.bin").write_bytes(data[: len(data) - missing])
        found = read_examples(tmp_path)
        whole = 5 - math.ceil(missing / size)
        assert (0 if found is None else len(found.steps)) == max(whole, 0)
        if found is not None and len(found.steps):
            np.testing.assert_array_equal(found.values, uninterrupted.examples.values[:whole])


def test_the_losses_of_tokens_are_computed_once(tmp_path, monkeypatch):
    """The logits are the largest thing in a language model, and both the metrics and the noise are of their losses."""
    calls, real = [], torch.nn.functional.cross_entropy
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *a, **k: calls.append(len(a[0])) or real(*a, **k))
    evaluated("language_modelling", "loss", tmp_path)
    assert sum(calls) == COUNT * 6
