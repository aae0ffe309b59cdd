"""A study read back says what its trials' folders hold."""

import json
import math
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from ended_study import ARMS, DIVERGES_FROM, EVALUATED, PLAIN, begin, end

import playbook
from playbook.errors import InputError
from playbook.examples import About, ExampleRecord, read_examples
from playbook.run_files import EVALS, STEPS, Table
from playbook.study import load
from playbook.study.load import column
from playbook.study.study_files import last_crash, record_crash


@pytest.fixture
def plain(tmp_path):
    """A study of 12 trials of which 10 have ended, the last one in a crash."""
    trials = begin(tmp_path, PLAIN, 12)
    end(tmp_path, PLAIN, trials[:10], crashed={9: "no such kernel"})
    return playbook.load_study(tmp_path)


def test_a_row_a_trial_that_has_ended(plain):
    trials = PLAIN.trials(12)[:10]
    table = plain.trials
    assert table["trial"].to_list() == list(range(10))
    assert table["lr"].to_list() == [trial.settings["lr"] for trial in trials]
    expected = ["infeasible" if trial.settings["lr"] > DIVERGES_FROM else "complete" for trial in trials[:9]]
    assert table["status"].to_list() == [*expected, "crashed"]
    for row in table.iter_rows(named=True):
        assert (row["objective"] is None) == (row["status"] != "complete")
        assert row["seed"] == 3
    assert set(table.filter(pl.col("status") == "infeasible")["reason"]) == {"diverged"}
    assert table["reason"][9] == "RuntimeError: no such kernel"


def test_curves_are_those_of_the_trials(plain):
    curves = plain.curves()
    assert curves.columns == ["trial", "step", "metric", "value"]
    for trial in (0, 5):
        own = curves.filter(trial=trial, metric="val/error")
        assert own["step"].to_list() == list(EVALUATED)
        log_lr = math.log10(PLAIN.trials(12)[trial].settings["lr"])
        dropout = PLAIN.trials(12)[trial].settings["model.dropout"]
        assert own["value"][3] == pytest.approx((log_lr + 2) ** 2 + 0.001 * dropout + 1 / 16)
    assert set(plain.curves(["train/loss"])["metric"]) == {"train/loss"}


def test_a_row_torn_by_a_crash_is_left_out(plain):
    path = plain.folder(0) / EVALS
    before = plain.curves()
    with path.open("a") as file:
        file.write("100,val/er")
    assert plain.curves().equals(before)


def test_a_damaged_file_is_named(plain):
    path = plain.folder(2) / EVALS
    path.write_text("step,metric,value\nten,val/error,0.1\n")
    with pytest.raises(InputError, match=r"trial_00002.evals\.csv cannot be read as evals"):
        plain.curves()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("seed", "x"), ("best_step", "x"), ("final_objective", "x"), ("reason", 3), ("steps", "x")),
        *(("seconds", None), ("metrics", [1]), ("environment", 3), ("chance", "x"), ("objective", "x")),
    ],
)
def test_a_result_with_another_kind_of_value_is_one_line(plain, key, value):
    path = plain.folder(0) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(InputError, match=rf"json is not a result \({key}.*remove .*trial_00000 to have") as refused:
        playbook.load_study(plain.path).trials  # noqa: B018
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("damage", [b"", b"\xff\x00\x07\n" * 500, b"step,loss\n0,high\n"])
def test_damaged_steps_are_a_short_line(plain, damage):
    (plain.folder(2) / STEPS).write_bytes(damage)
    with pytest.raises(InputError, match=r"trial_00002.steps\.csv cannot be read as steps") as error:
        plain.steps(2)
    assert len(str(error.value)) < 600
    assert str(error.value).isprintable()


def test_steps_are_those_of_the_trial(plain):
    Table(plain.folder(1), STEPS).append([(0, 2.5, 1.0, 0.1, False, 0.0, 0.01), (1, 2.0, 0.5, 0.1, True, 0.0, 0.01)])
    assert plain.steps(1)["grad_norm"].to_list() == [1.0, 0.5]
    assert len(plain.steps(2)) == 0


def test_arms_keep_their_own_hyperparameters(tmp_path):
    end(tmp_path, ARMS, begin(tmp_path, ARMS, 16))
    table = playbook.load_study(tmp_path).trials
    adam = table.filter(pl.col("optimizer") == "adam")
    assert adam["optimizer.nesterov"].null_count() == len(adam) > 0
    assert adam["optimizer.beta1"].null_count() == 0
    assert table["model.width"].dtype == pl.Int64
    assert table["optimizer.nesterov"].dtype == pl.Boolean
    assert set(table["model.hidden"]) == {"[64]", "[64, 64]"}  # a list is a text in a table
    assert set(table["model.bias"]) == {"true", "1"}  # so that true and 1 stay apart


@pytest.mark.parametrize(
    ("values", "kind", "held"),
    [
        ([1, None, 3], pl.Int64, [1, None, 3]),
        ([1, 2.5], pl.Float64, [1.0, 2.5]),
        ([True, None], pl.Boolean, [True, None]),
        ([None, 1.0], pl.Float64, [None, 1.0]),
        (["relu", 3], pl.String, ["relu", "3"]),
        ([2**70, 1], pl.Float64, [float(2**70), 1.0]),
    ],
)
def test_a_column_has_the_type_of_its_values(values, kind, held):
    assert column(values).dtype == kind
    assert column(values).to_list() == held


def test_a_folder_without_a_study(tmp_path):
    with pytest.raises(InputError, match=r"there is no study here \(study\.yaml is missing\)"):
        playbook.load_study(tmp_path)


def test_reading_a_study_needs_no_torch():
    code = "import sys, playbook; playbook.load_study; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_message_of_many_lines_is_one_line(tmp_path):
    record_crash(tmp_path, RuntimeError("CUDA error: misaligned address\nCompile with `TORCH_USE_CUDA_DSA`: more"))
    crash = last_crash(tmp_path)
    assert (crash.kind, crash.attempts) == ("RuntimeError", 1)
    assert crash.message == "CUDA error: misaligned address Compile with `TORCH_USE_CUDA_DSA`: more"


def record_examples(folder, rows, *, which="a", **about):
    """Write a trial's examples, an evaluation at steps 0, 5, … for each of the rows."""
    record = ExampleRecord(folder)
    about = About(
        **{"metric": "val/error", "mode": "min", "values": "bits", "judged": 9, "which": which} | about,
        examples=len(rows[0]),
    )
    for place, row in enumerate(rows):
        record.append(5 * place, about, np.array(row))
    return record.mark


def test_examples_are_read_when_they_are_asked_for_and_of_those_trials_that_recorded_the_same(plain, monkeypatch):
    rows = np.random.default_rng(0).random((4, 2, 9)) < 0.5
    for trial, which in ((0, "a"), (1, "b"), (2, "a"), (9, "a")):
        record_examples(plain.folder(trial), rows[trial % 4], which=which)
    (plain.folder(3) / "examples.bin").touch()
    read = []
    monkeypatch.setattr(load, "read_examples", lambda folder, mark: read.append(folder) or read_examples(folder, mark))
    examples = playbook.load_study(plain.path).tables().examples
    assert (list(examples), len(examples), 1 in examples, read) == ([0, 2, 9], 3, False, [])
    assert examples[2].values.tolist() == rows[2].tolist()
    assert examples[2].at(5).tolist() == rows[2][1].tolist()
    assert read == [plain.folder(2)]
    assert (examples.get(1), examples.get(3)) == (None, None)
    assert playbook.load_study(plain.path).tables("train/loss", "min").examples == {}


@pytest.mark.parametrize("values", ["bits", "float32"])
def test_lower_is_better_whatever_the_direction_of_the_objective(tmp_path, values):
    given = np.array([[True, False, True]]) if values == "bits" else np.array([[0.5, -1.0, 2.0]])
    record_examples(tmp_path, given, mode="max", values=values)
    assert read_examples(tmp_path).values.tolist() == [[0, 1, 0]] if values == "bits" else [[-0.5, 1.0, -2.0]]


def test_a_trial_whose_examples_are_damaged_is_named(plain):
    mark = record_examples(plain.folder(0), [[True, False]])
    path = plain.folder(0) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tables": {"examples.bin": mark}}))
    lr, dropout = PLAIN.trials(12)[0].settings.values()
    (plain.folder(0) / "config.yaml").write_text(f"lr: {lr}\nmodel: {{dropout: {dropout}}}\nseed: 3\n")
    assert playbook.load_study(plain.path).examples[0].values.tolist() == [[1, 0]]
    (plain.folder(0) / "examples.bin").write_bytes((plain.folder(0) / "examples.bin").read_bytes()[:-1])
    with pytest.raises(InputError, match=r"examples.bin: rows are missing .*; remove .*trial_00000 to have the trial"):
        playbook.load_study(plain.path).examples[0]
