"""The test split: read by one command, counted, and judged as a plain loop over it judges."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch

import playbook
from playbook.data import Digits, TensorSource
from playbook.errors import InputError
from playbook.procedures.evaluate import EvaluateOptions, evaluate
from playbook.procedures.looks_at_test import Look, looks_at, record_look
from playbook.procedures.sides import read_side

SOURCE = Path(playbook.__file__).parent
SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "max_steps=40", "eval_every=20", "batch_size=32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run on digits, and its folder's root."""
    root = tmp_path_factory.mktemp("runs")
    config = playbook.compose(*SMALL, f"output_root={root}", "data.test_fraction=0.3")
    playbook.train(config, verbose=False)
    return Path(config.output_dir)


@pytest.fixture
def read(monkeypatch):
    """The names of the splits that were read."""
    names, examples = [], Digits.examples

    def noted(self, split):
        names.append(split)
        return examples(self, split)

    monkeypatch.setattr(Digits, "examples", noted)
    return names


def ask(run, root, *words, **options):
    given = EvaluateOptions(run_dir=str(run), out_dir=str(root / "out"), **options)
    return evaluate(f"output_root={root}", *words, options=given, quiet=True)


def test_it_judges_as_a_plain_loop_does(trained, tmp_path):
    answer = ask(trained, tmp_path)
    model = playbook.load_run(trained).model()
    inputs, targets = Digits(test_fraction=0.3).load("test").batch(torch.arange(539))
    with torch.no_grad():
        taken = model(inputs).argmax(1)
    evidence = answer.evidence
    assert evidence["n_examples"] == 539
    assert evidence["value"] == pytest.approx((taken != targets).double().mean().item())
    assert evidence["interval"][0] < evidence["value"] < evidence["interval"][1]
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (targets.numpy(), taken.numpy()), 1)
    assert evidence["confusion"] == confusion.tolist()
    assert evidence["validation"] == playbook.load_run(trained).result.objective
    kept = np.load(evidence["predictions"], allow_pickle=False)
    assert kept["target"].tolist() == targets.tolist()
    assert kept["prediction"].argmax(1).tolist() == taken.tolist()
    assert kept["values"].tolist() == (taken != targets).tolist()
    assert "first look" in " ".join(answer.remarks)
    assert "fold_validation=true" in answer.next


def test_looks_are_counted_by_the_examples_and_not_by_their_name(trained, tmp_path):
    assert ask(trained, tmp_path).evidence["looks"] == 1
    again = ask(trained, tmp_path)
    assert (again.evidence["looks"], again.evidence["models_looked_at"]) == (2, 1)
    assert "not for the first time" in " ".join(again.remarks)
    words = (*SMALL, f"output_root={tmp_path}", "data.test_fraction=0.3", "data.val_fraction=0.1", "seed=3")
    other = playbook.compose(*words, "data.in_memory=false")
    playbook.train(other, verbose=False)
    another = ask(other.output_dir, tmp_path)  # the same test examples, standardised by others
    assert another.evidence["test_set"] == again.evidence["test_set"]
    assert (another.evidence["looks"], another.evidence["models_looked_at"]) == (3, 2)
    assert "the best of 2 equally good models" in " ".join(another.remarks)


def test_training_reads_no_test_examples_and_evaluate_does(tmp_path, read):
    config = playbook.compose(*SMALL, f"output_root={tmp_path}", "fold_validation=true")
    playbook.train(config, verbose=False)
    assert set(read) == {"train", "val"}
    ask(config.output_dir, tmp_path)
    assert set(read) == {"train", "val", "test"}


def test_nothing_else_in_the_package_asks_for_the_test_split():
    asking = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and node.func.attr in ("load", "examples", "_tokens", "_read"):
                given = [each for each in node.args if isinstance(each, ast.Constant)]
                if any(each.value == "test" for each in given):
                    asking.add(str(path.relative_to(SOURCE)))
    assert asking == {"training/test_split.py", "data/images.py"}


def test_a_model_that_is_not_what_was_recorded_is_refused_before_it_is_judged(trained, tmp_path, read, monkeypatch):
    monkeypatch.setattr("playbook.models.MLP.forward", lambda self, inputs: torch.zeros(len(inputs), 10))
    with pytest.raises(InputError, match="the test split has not been read"):
        ask(trained, tmp_path)
    assert "test" not in read
    assert not list(tmp_path.iterdir())


def test_other_data_are_refused(trained, tmp_path, read, monkeypatch):
    examples = TensorSource.load
    monkeypatch.setattr(Digits, "load", lambda self, split: examples(self, "val"))
    with pytest.raises(InputError, match="not those that it was trained on"):
        ask(trained, tmp_path)
    assert "test" not in read


def test_a_look_that_cannot_be_recorded_shows_nothing(trained, tmp_path, capsys):
    (tmp_path / "test_looks").write_text("")
    with pytest.raises(InputError, match="cannot be recorded"):
        ask(trained, tmp_path)
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().out == ""


def test_a_line_that_is_cut_is_a_look(tmp_path):
    look = Look("run", 3, "weights", "test/error", 0.5)
    record_look(str(tmp_path), "digits", look)
    with (tmp_path / "test_looks" / "digits.jsonl").open("a") as file:
        file.write('{"run": "ru\n')
    record_look(str(tmp_path), "digits", look)
    assert [each.model for each in looks_at(str(tmp_path), "digits")] == ["weights", "unreadable line 2", "weights"]


@pytest.mark.parametrize(
    ("words", "run", "said"),
    [
        (("model=cnn",), None, "model=cnn: run_dir says what was trained"),
        ((), "nowhere", "neither a run"),
        (("data.split_seed=3",), None, "data.split_seed=3: run_dir says"),
    ],
)
def test_what_makes_no_sense_is_refused(trained, tmp_path, words, run, said):
    with pytest.raises(InputError) as refused:
        ask(trained if run is None else tmp_path / run, tmp_path, *words)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="run_dir: a value is needed"):
        evaluate(quiet=True)


def test_regression_has_a_bootstrap_interval(tmp_path):
    config = playbook.compose(*SMALL, f"output_root={tmp_path}", "data=diabetes", "task=regression", "lr=0.01")
    playbook.train(config, verbose=False)
    answer = ask(config.output_dir, tmp_path)
    kept = np.load(answer.evidence["predictions"], allow_pickle=False)
    errors = kept["prediction"] - kept["target"]
    assert answer.evidence["value"] == pytest.approx(float(np.sqrt((errors**2).mean())), rel=1e-5)
    low, high = answer.evidence["interval"]
    se = float((errors**2).std() / np.sqrt(len(errors)) / (2 * answer.evidence["value"]))
    assert (high - low) / 3.92 == pytest.approx(se, rel=0.15)
    assert answer.evidence["confusion"] is None


def test_no_test_split_is_said(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", inputs=np.random.default_rng(0).normal(size=(60, 3)), targets=np.arange(60) % 2)
    words = (*SMALL, f"output_root={tmp_path}", "data=arrays", f"data.path={tmp_path}/mine.npz", "data.test_fraction=0")
    config = playbook.compose(*words)
    playbook.train(config, verbose=False)
    with pytest.raises(InputError, match="has no test_inputs"):
        ask(config.output_dir, tmp_path)


def test_folded_it_is_trained_on_both_as_long_as_the_best_of_the_run(trained, tmp_path, read, untimed):
    answer = ask(trained, tmp_path, fold_validation=True)
    best = playbook.load_run(trained).result.best_step
    folded = playbook.load_run(answer.evidence["run_dir"])
    assert answer.evidence["folded"]
    assert answer.evidence["step"] == best
    assert answer.evidence["validation"] is None
    assert folded.config.fold_validation
    assert folded.config.total_steps == 40
    steps = folded.steps["loss"].to_list()
    assert steps[0] != playbook.load_run(trained).steps["loss"][0]  # other examples from the first step on
    record = (tmp_path / "test_looks" / f"{answer.evidence['test_set']}.jsonl").read_text().splitlines()
    assert len(record) == 1
    assert json.loads(record[0])["step"] == best
    with pytest.raises(InputError, match="nothing is left to compare it on"):
        read_side("candidate", str(folded.path))
    with pytest.raises(InputError, match="it was trained on both"):
        ask(folded.path, tmp_path, fold_validation=True)
