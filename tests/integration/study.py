"""A study on the command line, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl

CHECKOUT = Path(__file__).parents[2]
N_TRIALS = 3
MAX_STEPS = 6000
SECONDS = 600
"""Longer than anything here takes."""
WORDS = (
    "lr=tag(log,interval(0.001,0.1))",
    "study.name=launched",
    f"study.n_trials={N_TRIALS}",
    "optimizer=adam",
    "model.dropout=0.1",
    f"max_steps={MAX_STEPS}",  # seconds: long enough to be disturbed
    "eval_every=250",
    "logger=none",
    "trainer.device=cpu",
    "trainer.num_threads=1",  # the last bits depend on it
)


class Study:
    """A folder with a study in it, or where one will be."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd
        self.folder = cwd / "outputs" / "studies" / "launched"

    @contextmanager
    def running(
        self, *words: str, environment: Mapping[str, str] | None = None, code: int = 0
    ) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; it must end with `code`."""
        command = [sys.executable, str(CHECKOUT / "train.py"), "-m", *WORDS, *words]
        settings = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {})
        log = self.cwd / "log"
        with (
            log.open("a") as out,
            subprocess.Popen(command, cwd=self.cwd, env=settings, stdout=out, stderr=out) as sweep,
        ):
            try:
                yield sweep
                sweep.wait(SECONDS)
            finally:
                sweep.terminate()
        assert sweep.returncode == code, log.read_text()

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> None:
        with self.running(*words, environment=environment):
            pass

    def trial(self, number: int) -> Path:
        return self.folder / f"trial_{number:05d}"

    def newest_commit(self, number: int) -> int:
        """The step that a trial would go on from; -1 before the first."""
        steps = [int(path.stem.rpartition("_")[2]) for path in self.trial(number).glob("checkpoints/resume_*.ckpt")]
        return max(steps, default=-1)

    def in_the_middle(self, number: int) -> None:
        """Comes back when a trial is well under way."""
        wait_until(lambda: self.newest_commit(number) >= 500)
        assert not self.ended(number), "it was too quick for this test"

    def process(self, number: int) -> int:
        """The process that a trial runs in."""
        (pid,) = self.processes(number)
        return pid

    def processes(self, number: int) -> set[int]:
        """Those that hold the folder of a trial: the one that it runs in, if any."""
        return {
            int(path.parts[2]) for path in Path("/proc").glob("[0-9]*/fd/*") if _points_to(path, self.trial(number))
        }

    def committed(self, number: int) -> list[str]:
        """The rows of `steps.csv` that no interruption can undo; they have the time that each step took."""
        commit = self.newest_commit(number)
        _, *rows = (self.trial(number) / "steps.csv").read_text().splitlines()
        return rows[:commit]

    def went_on_from(self, rows: list[str], number: int) -> bool:
        """Whether a trial begins with these rows of its steps, which it had when it was stopped in the middle."""
        assert 500 <= len(rows) < MAX_STEPS
        return self.committed(number)[: len(rows)] == rows

    def ended(self, number: int) -> bool:
        return (self.trial(number) / "result.json").exists()

    def crashes(self, number: int) -> int:
        return len(list(self.trial(number).glob("crash_*.txt")))

    def table(self) -> str:
        """`trials.csv`."""
        return (self.folder / "trials.csv").read_text()

    def losses(self, number: int) -> pl.DataFrame:
        """What is the same whenever and wherever a trial ran."""
        return pl.read_csv(self.trial(number) / "steps.csv").select("step", "loss", "grad_norm", "lr")


def _points_to(descriptor: Path, folder: Path) -> bool:
    try:
        return descriptor.readlink() == folder
    except OSError:  # it is closed by now, or another user's
        return False


def wait_until(happened: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < SECONDS, "it did not happen"
        time.sleep(0.02)


def assert_same(study: Study, other: Study) -> None:
    """Two studies ended alike, to the last bit, with every step there once."""
    assert study.table() == other.table()
    for number in range(N_TRIALS):
        losses = study.losses(number)
        assert losses["step"].to_list() == list(range(MAX_STEPS))
        assert losses.equals(other.losses(number))
