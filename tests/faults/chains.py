"""Runs that are killed again and again, and what their folders hold when they have ended all the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from faults.driver import CHECKOUT, FIRST_MOMENTS, LAST_MOMENTS, at_the_end, begun, supervise
from faults.settings import Setting, write_data
from faults.state import difference, digest, left_over, overall
from playbook.training.checkpoints import step_of

KILLED = -9
DAMAGED = "its checksum does not match; going on from the commit before it"
MOST_ATTEMPTS = 10


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (-9: SIGKILL), what it printed, seconds from the beginning of its training."""

    code: int
    output: str
    trained: float


class Driver:
    """Starts `python train.py …`, in a fork of a warm process or for real, and kills it where it should."""

    def __init__(self, place: Path, output: str = "output.txt") -> None:
        self.output = place / output
        path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        self._environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "faults.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
            env=self._environment,
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()

    def run(
        self,
        overrides: Iterable[str],
        folder: Path,
        *,
        phase: str | None = None,
        nth: int = 1,
        kill_after: float | None = None,
    ) -> Ended:
        """In a fork; killed at the n-th passage through `phase`, or `kill_after` seconds of training."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {
            "overrides": list(overrides),
            "folder": str(folder),
            "output": str(self.output),
            "phase": phase,
            "nth": nth,
            "kill_after": kill_after,
        }
        print(json.dumps(request), file=self._server.stdin, flush=True)
        line = self._server.stdout.readline()
        assert line, "the driver is gone; what it printed says why"
        reply = json.loads(line)
        return Ended(reply["code"], self.output.read_text(encoding="utf-8"), reply["trained"])

    def run_process(self, overrides: Iterable[str], folder: Path, *, kill_after: float | None = None) -> Ended:
        """As `run`, in a new interpreter."""
        before = begun(folder)
        with self.output.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "train.py", *overrides, f"output_dir={folder}"],
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env=self._environment,
            )
            trained = supervise(folder, before, lambda: process.poll() is not None, process.kill, kill_after)
        return Ended(process.returncode, self.output.read_text(encoding="utf-8"), trained)


@dataclass
class Outcome:
    """A chain beside its twin."""

    setting: str
    what: str
    kills: Counter[str]
    twin: str
    chain: str
    faults: list[str] = field(default_factory=list)
    """Files that are not the twin's, that should not be there, or whatever else went wrong; empty where all is well."""

    def row(self) -> str:
        """A line of the table."""
        verdict = "same" if not self.faults else f"DIFFERENT: {'; '.join(self.faults)}"
        return f"{self.setting:17} {self.what:14} {self.kills.total():5}  {self.twin}  {self.chain}  {verdict}"


HEADER = f"{'setting':17} {'chain':14} kills  {'hash of the twin':16}  {'hash of chain':16}"


class Trials:
    """The chains of one setting; `twin` is the run that nothing happened to."""

    def __init__(self, setting: Setting, place: Path, driver: Driver) -> None:
        self.setting = setting
        self.place = place / setting.name
        self.driver = driver
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        write_data(self.place)
        self.words = setting.words(self.place)
        self.twin = self.place / "twin"
        ended = driver.run(self.words, self.twin)
        assert ended.code == 0, ended.output
        self.seconds = ended.trained
        self.hashes = digest(self.twin)

    def compare(self, folder: Path, what: str, kills: Counter[str], *, said: Iterable[str] = ()) -> Outcome:
        """`folder` beside the twin's; `said` are faults that were found already."""
        hashes = digest(folder)
        outcome = Outcome(self.setting.name, what, kills, overall(self.hashes), overall(hashes), list(said))
        outcome.faults += [f"{name} differs" for name in difference(self.hashes, hashes)]
        resumable = [at_the_end(self.driver.output, run) for run in (self.twin, folder)]
        if resumable[1].exists():  # not where the process was a real one
            outcome.faults += [f"{name} differed at the end" for name in difference(*map(digest, resumable))]
        outcome.faults += [f"left over: {name}" for name in left_over(folder, keep_best=self._best_expected())]
        return outcome

    def phases(self, phases: Iterable[str], *, seed: int = 0) -> list[Outcome]:
        """Killed at one of `phases` after the other, at their first or second passage, then run to the end.

        Where a run ends without passing a phase, the next chain begins there, in a new folder. A phase that a new
        folder does not pass either is left out: without best checkpoints there is none to write.
        """
        waiting = list(phases)
        draw = random.Random(f"{seed} {self.setting.name} phases")
        outcomes: list[Outcome] = []
        while waiting:
            what = f"phases {len(outcomes)}"
            folder = self.place / what
            kills: Counter[str] = Counter()
            faults: list[str] = []
            first = waiting[0]
            if ": cut " in first:  # takes a run that goes on
                self._kill_at("resume: done", 2, folder, kills, faults)
            while waiting and not faults:
                phase = waiting[0]
                once = phase in FIRST_MOMENTS or phase in LAST_MOMENTS or ": cut " in phase
                if not self._kill_at(phase, 1 if once else draw.choice((1, 2)), folder, kills, faults):
                    break
                waiting.pop(0)
            if waiting and waiting[0] == first:
                waiting.pop(0)
            outcomes.append(self._finish(folder, what, kills, faults))
        return outcomes

    def _kill_at(self, phase: str, nth: int, folder: Path, kills: Counter[str], faults: list[str]) -> bool:
        ended = self.driver.run(self.words, folder, phase=phase, nth=nth)
        kills.update([phase] if ended.code == KILLED else [])
        if ended.code not in (KILLED, 0):
            faults.append(f"{phase}: exit code {ended.code}: {ended.output.strip()[-300:]}")
        return ended.code == KILLED

    def moments(self, count: int, what: str, *, seed: int = 0, real: bool = False) -> Outcome:
        """Killed at `count` uniformly random moments of the training that is still to come, then run to the end.

        Where a run ends before it is killed, the chain begins again in a new folder.
        """
        draw = random.Random(f"{seed} {self.setting.name} {what}")
        seconds = self.seconds
        kills: Counter[str] = Counter()
        faults: list[str] = []
        start = self.driver.run_process if real else self.driver.run
        for attempt in range(MOST_ATTEMPTS):
            folder = self.place / f"{what} {attempt}"
            ended = Ended(KILLED, "", 0.0)
            while kills.total() < count and ended.code == KILLED:
                is_new = not folder.exists()
                ended = start(self.words, folder, kill_after=draw.uniform(0, seconds * (1 - self._done(folder))))
                kills.update(["a random moment"] if ended.code == KILLED else [])
                if ended.code == 0 and is_new:  # the twin may have been slow, on a machine that others use
                    seconds = min(seconds, ended.trained)
                if ended.code not in (KILLED, 0):
                    faults.append(f"after a kill, exit code {ended.code}: {ended.output.strip()[-300:]}")
            outcome = self._finish(folder, what, kills, faults)
            if outcome.faults or kills.total() == count:
                return outcome
        outcome.faults.append(f"only {kills.total()} of {count} kills in {MOST_ATTEMPTS} chains")
        return outcome

    def flips(self, count: int, what: str = "bit flips", *, seed: int = 0) -> Outcome:
        """`count` copies of an unfinished run, each with one bit of its newest checkpoint flipped, then run to the end.

        The row that comes back is of the last copy, or of the first that went wrong.
        """
        draw = random.Random(f"{seed} {self.setting.name} {what}")
        unfinished = self.place / what
        ended = self.driver.run(self.words, unfinished, phase="cleaning: before", nth=4)
        assert ended.code == KILLED, ended.output
        kills: Counter[str] = Counter()
        for number in range(count):
            folder = self.place / f"{what} {number}"
            shutil.copytree(unfinished, folder)
            older, newest = sorted(folder.glob("checkpoints/resume_*.ckpt"), key=step_of)[-2:]
            flip(newest, draw.randrange(newest.stat().st_size * 8))
            faults = []
            ended = self.driver.run(self.words, folder)
            if _rows(folder, step_of(older)) != _rows(unfinished, step_of(older)):
                faults.append(f"copy {number}: steps before the older generation were trained again")
            if newest.name not in ended.output or DAMAGED not in " ".join(ended.output.split()):
                faults.append(f"copy {number}: the flipped bit was not found: {ended.output.strip()[-300:]}")
            kills.update([] if faults else ["a flipped bit"])
            outcome = self.compare(folder, what, kills, said=faults)
            if outcome.faults:
                break
            shutil.rmtree(folder)
        return outcome

    def _finish(self, folder: Path, what: str, kills: Counter[str], faults: list[str]) -> Outcome:
        """Run it to the end."""
        ended = self.driver.run(self.words, folder)
        if ended.code != 0:
            faults.append(f"does not end: exit code {ended.code}: {ended.output.strip()[-300:]}")
        outcome = self.compare(folder, what, kills, said=faults)
        if not outcome.faults:
            shutil.rmtree(folder)
        return outcome

    def _done(self, folder: Path) -> float:
        """The share of the twin's steps that are committed in `folder`."""
        steps = [step_of(path) for path in folder.glob("checkpoints/resume_*.ckpt")]
        last = json.loads((self.twin / "result.json").read_text(encoding="utf-8"))["steps"]
        return min(max(steps, default=0) / last, 0.9)

    def _best_expected(self) -> int:
        config: dict[str, Any] = yaml.safe_load((self.twin / "config.yaml").read_text(encoding="utf-8"))
        return int(config["keep_best"])


def _rows(folder: Path, steps: int) -> list[str]:
    """The first `steps` rows of `steps.csv`, with the seconds that they took: they tell one training from another."""
    return (folder / "steps.csv").read_text(encoding="utf-8").splitlines()[1 : steps + 1]


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
