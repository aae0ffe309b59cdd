"""The files of a run: what is written is what is read back, also after a crash half way."""

from __future__ import annotations

import csv
import json
import math
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from playbook.errors import CrashError, InputError
from playbook.run_files import (
    EVAL_COLUMNS,
    EVALS,
    PREDICTIONS,
    STEP_COLUMNS,
    STEPS,
    TABLES,
    Mark,
    Result,
    Table,
    finite,
    read_result,
    read_table,
    replace_file,
    write_result,
)

RESULT = Result(
    status="complete",
    objective=0.025,
    best_step=400,
    final_objective=0.03,
    steps=500,
    seconds=1.5,
    metrics={"val/error": 0.03},
    seed=3,
    objective_metric="val/error",
    objective_mode="min",
)
several_in_one_folder = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def step_row(step: int, loss: object = 1.0) -> tuple[object, ...]:
    return (step, loss, 2.0, 0.1, False, 0.001, 0.002)


def test_the_columns_are_those_that_others_read() -> None:
    assert ",".join(STEP_COLUMNS) == "step,loss,grad_norm,lr,clipped,data_seconds,step_seconds"
    assert ",".join(EVAL_COLUMNS) == "step,metric,value"


@several_in_one_folder
@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_float32_reads_back_to_the_last_bit(tmp_path: Path, losses: list[float]) -> None:
    (tmp_path / STEPS).unlink(missing_ok=True)
    given_ = np.array(losses, dtype=np.float32)
    Table(tmp_path, STEPS).append(step_row(step, loss) for step, loss in enumerate(given_))
    read = read_table(tmp_path, STEPS)["loss"].to_numpy().astype(np.float32)
    np.testing.assert_array_equal(read, given_)


@several_in_one_folder
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_float64_reads_back_to_the_last_bit(tmp_path: Path, values: list[float]) -> None:
    (tmp_path / EVALS).unlink(missing_ok=True)
    Table(tmp_path, EVALS).append((step, "val/loss", value) for step, value in enumerate(values))
    np.testing.assert_array_equal(read_table(tmp_path, EVALS)["value"].to_numpy(), np.array(values))


@several_in_one_folder
@given(st.lists(st.text('ab7.- ,"\n;é猫', min_size=1), min_size=1, max_size=8))
def test_text_reads_back(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / PREDICTIONS).unlink(missing_ok=True)
    Table(tmp_path, PREDICTIONS).append((0, i, name, name[::-1], 0.5) for i, name in enumerate(names))
    assert read_table(tmp_path, PREDICTIONS)["target"].to_list() == names
    with (tmp_path / PREDICTIONS).open(encoding="utf-8", newline="") as file:  # another reader agrees
        assert [row["prediction"] for row in csv.DictReader(file)] == [name[::-1] for name in names]


def test_types_of_the_columns(tmp_path: Path) -> None:
    Table(tmp_path, STEPS).append([step_row(0), (1, 1, 2, 0.1, True, 0, 0)])
    Table(tmp_path, PREDICTIONS).append([(0, 3, "7", "1", 1)])
    steps, predictions = read_table(tmp_path, STEPS), read_table(tmp_path, PREDICTIONS)
    assert steps.schema["step"] == pl.Int64
    assert steps["clipped"].to_list() == [False, True]
    assert steps.schema["loss"] == steps.schema["data_seconds"] == pl.Float64
    assert predictions["target"].to_list() == ["7"]  # a label that looks like a number is a label
    assert predictions.schema["score"] == pl.Float64


def test_infinities_and_nan_are_values(tmp_path: Path) -> None:
    Table(tmp_path, STEPS).append(
        step_row(i, v) for i, v in enumerate([math.nan, math.inf, -math.inf, np.float32("nan")])
    )
    losses = read_table(tmp_path, STEPS)["loss"]
    assert losses.null_count() == 0
    assert [math.isnan(losses[0]), losses[1], losses[2], math.isnan(losses[3])] == [True, math.inf, -math.inf, True]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_not_there_or_has_no_rows_is_empty(tmp_path: Path, name: str) -> None:
    absent = read_table(tmp_path, name)
    assert not (tmp_path / name).exists()
    Table(tmp_path, name).append([])
    written = read_table(tmp_path, name)
    assert (absent.height, written.height) == (0, 0)
    assert tuple(absent.columns) == tuple(written.columns) == TABLES[name]
    assert absent.schema == written.schema


def test_appending_goes_on_below_one_header(tmp_path: Path) -> None:
    mark = None
    for begin in (0, 3):
        table = Table(tmp_path, STEPS, mark)
        table.append(step_row(step) for step in range(begin, begin + 3))
        mark = table.mark
    assert read_table(tmp_path, STEPS)["step"].to_list() == list(range(6))
    assert (tmp_path / STEPS).read_text().count("loss") == 1
    data = (tmp_path / STEPS).read_bytes()
    assert mark == (len(data), zlib.crc32(data))


def test_cut_drops_what_is_past_the_mark(tmp_path: Path) -> None:
    table = Table(tmp_path, PREDICTIONS)
    names = ["two\nlines", "line\u2028separator", "next\x85line", "form\x0cfeed"]
    table.append((step, 0, name, "x", 0.5) for step, name in enumerate(names))
    mark, before = table.mark, table.path.read_bytes()
    table.append([(9, 0, "late", "x", 0.5)])
    again = Table(tmp_path, PREDICTIONS, mark)
    again.check()
    again.cut()
    assert table.path.read_bytes() == before
    again.append([(9, 0, "later", "x", 0.5)])
    assert read_table(tmp_path, PREDICTIONS)["target"].to_list() == [*names, "later"]
    Table(tmp_path, PREDICTIONS).cut()
    assert read_table(tmp_path, PREDICTIONS).height == 0


def test_cutting_what_is_not_there_makes_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path, EVALS)
    table.check()
    table.cut()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_after_any_byte_leaves_whole_rows_to_read_and_a_table_that_goes_on(tmp_path: Path) -> None:
    table = Table(tmp_path, PREDICTIONS)
    table.append([(0, 0, "first", "row", 0.5)])
    committed, mark = table.path.read_bytes(), table.mark
    table.append([(1, 0, "é", "two\nlines", 0.5), (1, 12, "b", 'say "é"', 0.25)])
    whole, ends = table.path.read_bytes(), []
    for length in range(len(whole) + 1):
        table.path.write_bytes(whole[:length])
        read = read_table(tmp_path, PREDICTIONS)  # as somebody does who looks while it is written
        ends.append(read.height)
        if length >= len(committed):
            again = Table(tmp_path, PREDICTIONS, mark)
            again.check()
            again.cut()
            again.append([(2, 9, "c", "d", 1.0)])
            assert read_table(tmp_path, PREDICTIONS)["step"].to_list() == [0, 2], f"after {length} bytes of {whole!r}"
    assert ends == sorted(ends)
    rows = '1,0,é,"two\nlines",0.5\n', '1,12,b,"say ""é""",0.25\n'
    assert [ends.count(height) for height in (1, 2)] == [len(row.encode()) for row in rows]
    assert ends[-1] == 3


@pytest.mark.parametrize("damage", ["deleted", "cut", "changed", "emptied"])
def test_a_table_that_is_not_what_was_written_is_refused(tmp_path: Path, damage: str) -> None:
    table = Table(tmp_path, EVALS)
    table.append((step, "val/error", 0.5) for step in range(9))
    write_result(tmp_path, replace(RESULT, tables={name: table.mark if name == EVALS else Mark() for name in TABLES}))
    assert read_table(tmp_path, EVALS).height == 9
    data = table.path.read_bytes()
    left = {"cut": data[:-14], "changed": data.replace(b"3,", b"4,"), "emptied": b""}
    if damage == "deleted":
        table.path.unlink()
    else:
        table.path.write_bytes(left[damage])
    for read in (Table(tmp_path, EVALS, table.mark).check, lambda: read_table(tmp_path, EVALS)):
        with pytest.raises(InputError, match=r"evals.csv: rows are missing .*overwrite=true") as error:
            read()
        assert "\n" not in str(error.value)
    if damage != "changed":
        with pytest.raises(CrashError, match=r"evals\.csv was changed while"):
            table.append([(9, "val/error", 0.5)])


def test_a_row_of_text_is_one_line(tmp_path: Path) -> None:
    (tmp_path / EVALS).write_text("step,metric,value\nzero,val/error,half\n")
    with pytest.raises(InputError, match=r"evals.csv cannot be read as evals [^\n]+overwrite=true$"):
        read_table(tmp_path, EVALS)


def test_the_table_is_its_old_self_when_a_cut_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(tmp_path, STEPS)
    table.append(step_row(step) for step in range(4))
    before = table.path.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _disk_is_full)
        with pytest.raises(OSError, match="No space"):
            Table(tmp_path, STEPS).cut()
    assert table.path.read_bytes() == before


def test_replace_file_replaces_whole_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text in ("lr: 0.1\n" * 1000, "é\r\n", ""):
        replace_file(path, text)
        assert path.read_bytes() == text.encode()
        assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_failed_replacement_leaves_the_old_file_and_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    replace_file(path, "old")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", _disk_is_full)
        with pytest.raises(OSError, match="No space"):
            replace_file(path, "new, and longer")
    assert path.read_text() == "old"
    replace_file(path, "n")
    assert path.read_text() == "n"
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_a_result_reads_back(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    gave_up = replace(
        RESULT, status="infeasible", objective=None, best_step=None, reason="diverged", reason_step=7, metrics={}
    )
    for result in (RESULT, gave_up):
        write_result(tmp_path, result)
        assert read_result(tmp_path) == result
    plain = json.loads((tmp_path / "result.json").read_text())
    assert {
        "status",
        "reason",
        "objective",
        "best_step",
        "final_objective",
        "steps",
        "seconds",
        "metrics",
        "seed",
    } <= set(plain)


def test_a_result_is_json_that_every_parser_takes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_result(tmp_path, replace(RESULT, metrics={"val/loss": math.nan}))
    assert read_result(tmp_path) is None
    assert finite({"a": math.nan, "b": -math.inf, "c": 0.0}) == {"c": 0.0}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", "[" * 10000, '{"status": "complete"}', '{"hello": 1}', "\udcff"]
)
def test_a_damaged_result_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as error:
        read_result(tmp_path)
    assert str(tmp_path / "result.json") in str(error.value)
    assert "overwrite=true" in str(error.value)
    assert "\n" not in str(error.value)


def _disk_is_full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")
