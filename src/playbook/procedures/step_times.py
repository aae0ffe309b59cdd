"""Steps timed at growing batch sizes in processes of their own, pass after pass; what was measured is kept.

The first pass goes up until memory runs out or throughput stops growing; each further one visits the same sizes in
the opposite order, so that a machine that becomes slower does not favour one end.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from playbook.analysis.throughput import Ended, Pass, Size, has_stopped_growing
from playbook.errors import CrashError, InputError, one_line
from playbook.run_files import replace_file

MEASUREMENTS = "measurements.json"
PROCESS = "playbook.training.throughput"
NUM_BLOCKS, BLOCK_SECONDS, MOST_SECONDS = 8, 0.1, 20.0
"""Of a size in a pass: so many blocks of steps, each of about a tenth of a second, which the clock of a busy machine
is good for; of slow steps fewer blocks, but two."""
KILLED = -9
"""How the system ends a process for its memory."""


@dataclass(frozen=True)
class Search:
    """From which size on, up to which (None: as far as it pays), how often; `budget` in bytes, None: what is free."""

    smallest: int
    largest: int | None
    passes: int
    budget: int | None


@dataclass
class Measurements:
    """What is known: of each size and pass the answer of the process, of sizes that do not fit what was said."""

    machine: str
    found: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    alone: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    too_large: dict[int, str] = field(default_factory=dict)

    def sizes(self, num_devices: int) -> list[Size]:
        """Those that fit, from the smallest."""
        return [self._size(size, passes, num_devices) for size, passes in sorted(self.found.items())]

    def _size(self, size: int, passes: list[dict[str, Any]], num_devices: int) -> Size:
        of_one = self.alone.get(size // num_devices, []) if num_devices > 1 else []
        peaks = [each["peak_bytes"] for each in passes if each["peak_bytes"] is not None]
        found = [
            Pass(
                tuple(each["seconds"]),
                tuple(each["waits"]),
                tuple(of_one[place]["seconds"]) if place < len(of_one) else (),
            )
            for place, each in enumerate(passes)
        ]
        return Size(size, tuple(found), max(peaks, default=None))


Say = Callable[[str], None]


def measure_sizes(
    plain: Mapping[str, Any], search: Search, path: Path, say: Say, machine: str
) -> tuple[Measurements, Ended]:
    """What was measured of the trial of a plain config, and why no larger size was tried.

    What `path` holds of this `machine` is not measured again; it is written after each size.

    Raises:
        InputError: the trial is refused.
        CrashError: a process ended without an answer.
    """
    known = _read(path, machine)
    devices = int(plain["trainer"]["num_devices"])
    ended: Ended = "saturated"
    with _Timer(plain, search.budget) as timer:
        size = search.smallest
        while True:
            if size in known.too_large:
                ended = "memory"
                break
            if not known.found.get(size):
                _measure(timer, known, size, path, say, "")
                continue
            examples = known.found[size][0]["num_examples"]
            throughputs = [each.throughput for each in known.sizes(devices) if each.batch_size <= size]
            if search.largest is not None and 2 * size > search.largest:
                ended = "asked"
                break
            if has_stopped_growing(throughputs):
                break
            if examples is not None and 2 * size > examples:
                ended = "data"
                break
            size *= 2
    for number in range(1, search.passes):
        order = sorted(known.found, reverse=number % 2 == 1)
        with _Timer(plain, search.budget) as timer:
            for each in order:
                if each in known.found and len(known.found[each]) <= number:
                    _measure(timer, known, each, path, say, f"pass {number + 1}: ")
    if devices > 1:
        of_one = {**plain, "trainer": {**plain["trainer"], "num_devices": 1}}
        with _Timer(of_one, search.budget) as timer:
            for number in range(search.passes):
                for each in sorted(known.found):
                    share = each // devices
                    if len(known.alone.get(share, [])) <= number:
                        answer = timer.measure(share)
                        if answer["status"] == "complete":
                            known.alone.setdefault(share, []).append(answer)
                            _write(path, known)
                        say(_line(f"one device, pass {number + 1}: ", share, answer))
    return known, "memory" if known.too_large else ended


def machine_name() -> str:
    """What was measured elsewhere is measured again."""
    return f"{platform.node()} {platform.machine()} {os.cpu_count()} cores"


def _measure(timer: _Timer, known: Measurements, size: int, path: Path, say: Say, where: str) -> None:
    answer = timer.measure(size)
    if answer["status"] == "complete":
        known.found.setdefault(size, []).append(answer)
    else:  # also where it fitted in an earlier pass: what does so at times cannot be trained with
        known.too_large[size] = answer["message"]
        known.found = {fitting: passes for fitting, passes in known.found.items() if fitting < size}
    _write(path, known)
    say(_line(where, size, answer))


def _line(where: str, size: int, answer: Mapping[str, Any]) -> str:
    if answer["status"] != "complete":
        return f"{where}batch_size {size}: out of memory ({answer['message']})"
    seconds = sorted(answer["seconds"])[len(answer["seconds"]) // 2]
    memory = f", {answer['peak_bytes'] / 1e9:.2f} GB" if answer["peak_bytes"] is not None else ""
    return f"{where}batch_size {size}: {size / seconds:,.0f} examples/s, {1000 * seconds:.3g} ms a step{memory}"


class _Timer:
    """The process that measures (`playbook.training.throughput`), started when it is needed."""

    def __init__(
        self, plain: Mapping[str, Any], budget: int | None, command: tuple[str, ...] = ("-m", PROCESS)
    ) -> None:
        self._command = command
        self._request = {
            "config": plain,
            "num_blocks": NUM_BLOCKS,
            "block_seconds": BLOCK_SECONDS,
            "most_seconds": MOST_SECONDS,
            "budget": budget,
        }
        self._process: subprocess.Popen[str] | None = None
        self._folder: TemporaryDirectory[str] | None = None
        self._errors: IO[str] | None = None

    def __enter__(self) -> _Timer:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def measure(self, size: int) -> dict[str, Any]:
        """The answer; a process that memory killed is one too."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            print(size, file=process.stdin, flush=True)
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any]
        if line:
            answer = json.loads(line)
            if answer.get("error"):
                kind = InputError if answer["exit_code"] == InputError.exit_code else CrashError
                raise kind(answer["error"])
            if answer["status"] != "complete":
                self._end()
            return answer
        code, said = process.wait(), self._said()
        self._end()
        if code == KILLED:
            message = "the system killed the process"
            return {"batch_size": size, "status": "out_of_memory", "message": message}
        raise CrashError(f"batch_size={size}: the process that measures it ended with exit code {code} ({said})")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._folder = TemporaryDirectory()
            self._errors = (Path(self._folder.name) / "stderr.txt").open("w+")
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=os.environ | {"TMPDIR": self._folder.name},  # what a killed process leaves behind goes with it
            )
            assert self._process.stdin is not None
            print(json.dumps(self._request), file=self._process.stdin, flush=True)
        return self._process

    def _said(self) -> str:
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return one_line(lines[-1]) if lines else "it said nothing"

    def _end(self) -> None:
        if self._process is not None:
            with suppress(OSError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
        if self._errors is not None:
            self._errors.close()
        if self._folder is not None:
            self._folder.cleanup()
        self._process = self._errors = self._folder = None


def _read(path: Path, machine: str) -> Measurements:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["machine"] == machine:
            found, alone, too_large = (
                {int(size): value for size, value in plain[name].items()} for name in ("found", "alone", "too_large")
            )
            return Measurements(machine, found, alone, too_large)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return Measurements(machine)


def _write(path: Path, known: Measurements) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(vars(known)) + "\n")
    except OSError as error:
        raise InputError(f"out_dir={path.parent}: it cannot be written there ({error.strerror})") from None
