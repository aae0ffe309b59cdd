"""What every example had to say about the objective at every evaluation of a trial: the ground of paired comparisons.

    examples.bin      a line of JSON (`About`), then a record an evaluation, all of one size

A record is the step (int64) and a number an example, little-endian: a bit where the task gives truth values (an example
was missed or not), else a float32. Of the examples that an evaluation judges at most `MOST_BITS` or `MOST_FLOATS` are
in it, the same ones at every evaluation and in every trial on the same data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from playbook.errors import InputError
from playbook.run_files import EXAMPLES, Mark, Record, read_result

MOST_BITS = 50_000
"""6 kB an evaluation."""
MOST_FLOATS = 4096
"""16 kB an evaluation."""
CACHED = 64
"""Trials whose examples are kept in memory once they are read."""


@dataclass(frozen=True)
class Examples:
    """The objective, example by example, of one trial.

    `steps` (evaluations,) are in order. `values` (evaluations, examples) are 1 where an example was missed and 0 where
    it was not, or losses: lower is better, whatever the objective's direction, and column j is the same example at
    every evaluation of every trial of a study. The mean of a row orders evaluations as the objective does: it is the
    objective, or what that grows with (the square of a root, the logarithm of a perplexity), over the recorded
    examples. They are not finite where the objective is not.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float32]

    def at(self, step: int) -> NDArray[np.float32] | None:
        """(examples,): the values at an evaluation; None where that step was not evaluated."""
        place = int(np.searchsorted(self.steps, step))
        return self.values[place] if place < len(self.steps) and self.steps[place] == step else None


@dataclass(frozen=True)
class About:
    """The first line of the file: what the records are of.

    `examples` of the `judged` are recorded; `which` tells one choice of examples from another.
    """

    metric: str
    mode: Literal["min", "max"]
    values: Literal["bits", "float32"]
    examples: int
    judged: int
    which: str
    version: int = 1

    def line(self) -> bytes:
        """As it stands in the file."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @property
    def kind(self) -> np.dtype[Any]:
        """Of a record."""
        numbers = ("u1", -(-self.examples // 8)) if self.values == "bits" else ("<f4", self.examples)
        return np.dtype([("step", "<i8"), ("numbers", *numbers)])


class ExampleRecord(Record):
    """The file of a run, as it is written."""

    def __init__(self, folder: Path, name: str = EXAMPLES, mark: Mark | None = None) -> None:
        super().__init__(folder, name, mark)
        self._first_line: bytes | None = None

    def append(self, step: int, about: About, values: NDArray[Any]) -> None:
        """Add an evaluation: (examples,) truth values or numbers.

        Nothing is added to a file about something else, which a run that was made to go on with other data has.
        """
        line = about.line()
        head = b"" if self.mark.size else line
        if self._first_line is None:
            self._first_line = _first_line(self.path) if self.mark.size else line
        if self._first_line == line:
            record = np.zeros(1, about.kind)
            record["step"] = step
            record["numbers"] = np.packbits(values) if about.values == "bits" else values
            self.write(head + record.tobytes())


def read_examples(folder: Path, mark: Mark | None = None) -> Examples | None:
    """The examples of the run in a folder; None where it recorded none. Of a run that goes on, the whole records.

    `mark` is how much a finished run wrote.

    Raises:
        InputError: the file is not what the run wrote.
    """
    data = ExampleRecord(folder, mark=mark).check()
    about, first = _about(folder, data)
    if about is None:
        return None
    whole = (len(data) - first) // about.kind.itemsize
    return _StoredExamples(about, np.frombuffer(data, about.kind, whole, first))


class _StoredExamples(Examples):
    """Examples as they are in the file, unpacked when they are asked for: as float32 a bit takes 32 times as much."""

    _about: About
    _numbers: NDArray[Any]

    def __init__(self, about: About, records: NDArray[Any]) -> None:
        object.__setattr__(self, "steps", records["step"].astype(np.int64))
        object.__setattr__(self, "_about", about)
        object.__setattr__(self, "_numbers", records["numbers"])

    @property
    def values(self) -> NDArray[np.float32]:
        return self._unpacked(self._numbers)

    def at(self, step: int) -> NDArray[np.float32] | None:
        places = np.flatnonzero(self.steps == step)
        return self._unpacked(self._numbers[places[:1]])[0] if len(places) else None

    def _unpacked(self, numbers: NDArray[Any]) -> NDArray[np.float32]:
        if self._about.values == "float32":
            return np.asarray(numbers if self._about.mode == "min" else -numbers, np.float32)
        bits = np.unpackbits(numbers, axis=1, count=self._about.examples)
        return (bits if self._about.mode == "min" else 1 - bits).astype(np.float32)


def examples_of_run(folder: Path) -> Examples | None:
    """`read_examples`, with what `result.json` knows of the file."""
    result = read_result(folder)
    return read_examples(folder, None if result is None or result.tables is None else result.tables.get(EXAMPLES))


class ExamplesOfTrials(Mapping[int, Examples]):
    """The examples of those trials of a study that recorded the same ones; each is read when it is asked for.

    `folders` are those of the trials, and `read` reads one. Where trials recorded different examples (of other splits,
    say), those are here that most trials have.
    """

    def __init__(self, folders: Mapping[int, Path], read: Callable[[int], Examples | None]) -> None:
        lines = {trial: _first_line(folder / EXAMPLES) for trial, folder in folders.items()}
        counts = Counter(line for line in lines.values() if line.endswith(b"\n"))
        usual = counts.most_common(1)[0][0] if counts else None
        self._trials = dict.fromkeys(trial for trial, line in lines.items() if line == usual)
        self._read = lru_cache(CACHED)(read)

    def __getitem__(self, trial: int) -> Examples:
        if trial not in self._trials or (found := self._read(trial)) is None:
            raise KeyError(trial)
        return found

    def __contains__(self, trial: object) -> bool:
        return trial in self._trials

    def __iter__(self) -> Iterator[int]:
        return iter(self._trials)

    def __len__(self) -> int:
        return len(self._trials)


def _first_line(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.readline()
    except FileNotFoundError:
        return b""


def _about(folder: Path, data: bytes) -> tuple[About | None, int]:
    """The first line, and where the records begin."""
    line, ended, _ = data.partition(b"\n")
    if not ended:
        return None, 0
    try:
        about = About(**json.loads(line))
        if about.version != 1 or about.examples < 1 or about.values not in ("bits", "float32"):
            raise ValueError("another version")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{folder / EXAMPLES}: its first line cannot be read ({type(error).__name__}); put the file back, or train"
            " again with overwrite=true"
        ) from None
    return about, len(line) + 1
