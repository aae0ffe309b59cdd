"""The files of a run: what each is called, what its columns are, how it is written and read back.

    config.yaml       as resolved
    steps.csv         a row a step: the loss and gradient norm of the weights *before* the update of that step
    evals.csv         a row a metric an evaluation: step k is after k updates, step 0 before the first
    predictions.csv   a row an example of a fixed sample of the validation split, an evaluation
    examples.bin      a record an evaluation: what each example had to say about the objective (`playbook.examples`)
    checkpoints/      the best, the one to resume from, and kept commits
    paused.json       how far a run is that was told to pause; gone when it has ended
    result.json       written last: a folder that has it holds a finished trial

Tables only grow, at commits; after a crash the rows past the last commit are cut off. Each commit, and at the end
`result.json`, knows how many bytes of each table were written and their checksum, so that a table that was cut, changed
or deleted is not taken for the run's. The files are the truth: W&B and other stores can be rebuilt from them.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.errors import CrashError, InputError, one_line

CONFIG = "config.yaml"
STEPS = "steps.csv"
EVALS = "evals.csv"
PREDICTIONS = "predictions.csv"
EXAMPLES = "examples.bin"
CHECKPOINTS = "checkpoints"
RESULT = "result.json"
PAUSED = "paused.json"
"""What `result.json` would say, of a run that rests at a commit before its end."""
WANDB_ID = "wandb.json"
"""The id of the run's W&B run, so that a resumed run goes on there."""
CRASHES = "crash_*.txt"
"""The traceback of each attempt of a study's trial that crashed."""

STEP_COLUMNS = ("step", "loss", "grad_norm", "lr", "clipped", "data_seconds", "step_seconds")
EVAL_COLUMNS = ("step", "metric", "value")
PREDICTION_COLUMNS = ("step", "example", "target", "prediction", "score")

TABLES = {STEPS: STEP_COLUMNS, EVALS: EVAL_COLUMNS, PREDICTIONS: PREDICTION_COLUMNS}
RECORDS = (*TABLES, EXAMPLES)
"""What grows at commits; where the objective is no mean over examples there is no `EXAMPLES`."""
_COLUMN_TYPES: dict[str, pl.DataType] = {
    "step": pl.Int64(),
    "example": pl.Int64(),
    "clipped": pl.Boolean(),
    "metric": pl.String(),
    "target": pl.String(),
    "prediction": pl.String(),
}  # the others are numbers


class Mark(NamedTuple):
    """How far a file has been written: its bytes, and their CRC-32."""

    size: int = 0
    crc32: int = 0


@dataclass(frozen=True)
class Result:
    """How a trial ended; the fields are those of `result.json`.

    `objective` is the best value over the course of training and `best_step` its step; `chance` is what the best
    constant prediction would get and `above_chance` the share of chance's distance from perfect that the trial
    covered (1 is perfect, 0 is chance). `objective_se` is the standard error of `objective` over the `n_examples`
    validation examples that it was measured on, where the task knows the noise of one. All of them are None for an
    infeasible trial, which says its `reason`. Those of a `paused` run are of the `steps` that it has done.
    """

    status: Literal["complete", "infeasible", "paused"]
    objective: float | None
    best_step: int | None
    final_objective: float | None
    steps: int
    seconds: float
    metrics: dict[str, float]
    seed: int
    objective_metric: str
    objective_mode: Literal["min", "max"]
    objective_se: float | None = None
    n_examples: int | None = None
    chance: float | None = None
    above_chance: float | None = None
    reason: Literal["diverged", "out_of_memory"] | None = None
    reason_step: int | None = None
    reason_message: str | None = None
    environment: dict[str, Any] | None = None
    tables: dict[str, Mark] | None = None
    """Bytes and CRC-32 of each of `RECORDS`; None in results of versions that did not say."""
    reused_from: str | None = None
    """The folder of the same trial, where this one was not trained but taken over (`study.reuse`)."""


@dataclass(frozen=True)
class StepRows:
    """The rows of consecutive steps as columns of equal length; `first_step` is the step of the first row."""

    first_step: int
    loss: NDArray[np.floating[Any]]
    grad_norm: NDArray[np.floating[Any]]
    lr: list[float]
    clipped: NDArray[np.bool_]
    data_seconds: list[float]
    step_seconds: list[float]

    def __len__(self) -> int:
        return len(self.lr)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """One tuple a step, in the order of `STEP_COLUMNS`; float32 stays float32, so that it prints short."""
        steps = range(self.first_step, self.first_step + len(self))
        seconds = [f"{value:.6f}" for value in self.data_seconds], [f"{value:.6f}" for value in self.step_seconds]
        yield from zip(steps, self.loss, self.grad_norm, self.lr, self.clipped.tolist(), *seconds, strict=True)


class Record:
    """A file that grows by whole commits; `mark` is how far it has been written."""

    def __init__(self, folder: Path, name: str, mark: Mark | None = None) -> None:
        self.path = folder / name
        self.mark = mark or Mark()

    def write(self, data: bytes) -> None:
        """Add to the end, and have it on the disk on return.

        Raises:
            CrashError: somebody else has changed the file since the last call.
        """
        with self.path.open("ab") as file:
            if file.tell() != self.mark.size:
                raise CrashError(f"{self.path.name} was changed while the trial was writing it")
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.mark = Mark(self.mark.size + len(data), zlib.crc32(data, self.mark.crc32))

    def check(self) -> bytes:
        """What is in the file.

        Raises:
            InputError: what was written up to the mark is not there to the last byte.
        """
        data = self.path.read_bytes() if self.path.exists() else b""
        if zlib.crc32(data[: self.mark.size]) != self.mark.crc32 or len(data) < self.mark.size:
            raise InputError(
                f"{self.path}: rows are missing or are not those that the run wrote; put the file back, or train again"
                " with overwrite=true"
            )
        return data

    def cut(self) -> None:
        """Drop what was written past the mark."""
        if self.path.exists():
            replace_file(self.path, self.path.read_bytes()[: self.mark.size])


class Table(Record):
    """A CSV file.

    Floats are written with the fewest digits that read back as the same number, in the type that they were computed
    in. A float32 loss is given as float32 by the caller, so that a row is short.
    """

    def __init__(self, folder: Path, name: str, mark: Mark | None = None) -> None:
        super().__init__(folder, name, mark)
        self.columns = TABLES[name]

    def append(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add rows, in the order of the columns; see `write`."""
        header = "" if self.mark.size else ",".join(self.columns) + "\n"
        self.write((header + "".join(",".join(map(_cell, row)) + "\n" for row in rows)).encode())


def read_table(folder: Path, name: str) -> pl.DataFrame:
    """A table of a run; empty, with its columns, where the run has not written it yet.

    Of a run that is being written, the rows that are whole.

    Raises:
        InputError: a cell is not of its column's type, or the table of a finished run is not what that run wrote.
    """
    path = folder / name
    schema = {column: _COLUMN_TYPES.get(column, pl.Float64()) for column in TABLES[name]}
    result = read_result(folder)
    if result is not None and result.tables is not None:
        Table(folder, name, Mark(*result.tables[name])).check()
    data = _whole_rows(path.read_bytes()) if path.exists() else b""
    if not data and (result is None or not path.exists()):
        return pl.DataFrame(schema=schema)
    try:
        return pl.read_csv(data, schema=schema)
    except pl.exceptions.PolarsError as error:  # it shows what it could not read, which may be all of a file
        reason = ascii(one_line(error)[:200])
        raise InputError(
            f"{path} cannot be read as {path.stem} ({reason}); put the file back, or train again with overwrite=true"
        ) from None


def write_result(folder: Path, result: Result) -> None:
    """Write `result.json`, which ends the run; or `paused.json`, of one that goes on another day."""
    name = PAUSED if result.status == "paused" else RESULT
    replace_file(folder / name, json.dumps(asdict(result), indent=2, allow_nan=False) + "\n")


def read_result(folder: Path) -> Result | None:
    """The result of a finished run; None while there is none."""
    return _read_result(folder / RESULT)


def read_paused(folder: Path) -> Result | None:
    """How far a run is that has paused; None where it has not, or has ended since."""
    return None if (folder / RESULT).exists() else _read_result(folder / PAUSED)


def commit_name(step: int) -> str:
    """Of a kept commit, in `CHECKPOINTS`."""
    return f"commit_{step:08d}.ckpt"


def kept_commits(folder: Path) -> list[int]:
    """The steps of the kept commits of the run in a folder, in order."""
    names = re.compile(r"commit_(\d{8,})\.ckpt")
    found = (names.fullmatch(path.name) for path in (folder / CHECKPOINTS).glob("commit_*"))
    return sorted(int(name[1]) for name in found if name)


def _read_result(path: Path) -> Result | None:
    if not path.exists():
        return None
    try:
        result = Result(**json.loads(path.read_text(encoding="utf-8")))
        return replace(result, tables=result.tables and {name: Mark(*mark) for name, mark in result.tables.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a result ({error}); overwrite=true runs the trial again") from None


def replace_file(path: Path, content: str | bytes) -> None:
    """Write a whole file so that a reader sees the old one or the new one, also after a crash."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content if isinstance(content, bytes) else content.encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk: a rename is only durable with its folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that JSON can hold."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _whole_rows(data: bytes) -> bytes:
    """The rows that end; a line break within quotes, of which a whole row has an even number, ends none."""
    end = data.rfind(b"\n") + 1
    while data.count(b'"', 0, end) % 2:
        end = data.rfind(b"\n", 0, end - 1) + 1
    return data[:end]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(c in text for c in ',"\n') else text
