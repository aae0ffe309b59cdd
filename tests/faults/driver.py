"""Runs `python train.py …` in forked children of a warm process, and kills them where it is told to.

    python -m faults.driver     reads a request a line (JSON) and answers each with a line

A child is a fork of a process that has imported everything, so it costs a tenth of a second and not four. It runs
`train.py` itself, as `__main__`. Where a request names a phase, the child wraps the functions that pass through it, so
that production code has no hooks, and sends SIGKILL to itself at the n-th passage.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import shutil
import signal
import stat
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, NoReturn

CHECKOUT = Path(__file__).parents[2]

FIRST_MOMENTS = (
    "folder made",
    "config.yaml: half written",
    "config.yaml: before rename",
    "config.yaml: done",
    "evals.csv: created",
    "evals.csv: header torn",
    "examples.bin: header torn",
)
STEPS_AND_COMMITS = (
    "forward done",
    "backward done",
    "step done",
    "evaluation half done",
    *(
        f"{table}: {moment}"
        for table in ("steps.csv", "evals.csv", "predictions.csv", "examples.bin")
        for moment in ("before", "half written", "written", "cut half written", "cut before rename", "cut done")
    ),
    *(
        f"{checkpoint}: {moment}"
        for checkpoint in ("best", "resume")
        for moment in ("before", "half written", "before rename", "done")
    ),
    "cleaning: before",
    "cleaning: between two",
)
LAST_MOMENTS = ("all steps done", "result.json: half written", "result.json: before rename", "result.json: done")

PHASES = (*FIRST_MOMENTS, *STEPS_AND_COMMITS, *LAST_MOMENTS)
"""Every moment that a run is killed at. Tables are cut where a run goes on; `best: done` is also where the best
checkpoint is there and the one to resume from is still the old one."""


_GROWS = (".csv", ".bin")


class Watch:
    """Counts passages through phases, and at the n-th through `phase` the process is gone."""

    def __init__(self, phase: str, nth: int) -> None:
        assert phase in PHASES, phase
        self._phase = phase
        self._nth = nth
        self._seen: Counter[str] = Counter()
        self._files: dict[int, tuple[Path, int]] = {}
        """Of each descriptor that `Path.open` gave out: the file, and its size then."""
        self._deleted_since_cleaning: int | None = None

    def passes(self, phase: str, prepare: Callable[[], None] | None = None) -> None:
        """`prepare` brings about what a kill in the middle of an operation would have left."""
        self._seen[phase] += 1
        if phase == self._phase and self._seen[phase] == self._nth:
            if prepare is not None:
                prepare()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Wrap what a run passes through."""
        from playbook.run_files import Record
        from playbook.training import evaluator, loop, resume, trial
        from playbook.training.checkpoints import SafeCheckpointIO
        from playbook.training.loop import TrialLoop

        _wrap(trial, "begin", before=lambda *_: self.passes("folder made"))
        _wrap(TrialLoop, "training_step", after=lambda *_: self.passes("forward done"))
        _wrap(TrialLoop, "configure_gradient_clipping", before=lambda *_: self.passes("backward done"))
        _wrap(TrialLoop, "on_train_batch_end", before=lambda *_: self.passes("step done"))
        _wrap(evaluator, "evaluate", after=lambda *_: self.passes("evaluation half done"))
        _wrap(loop.result, "complete", before=lambda *_: self.passes("all steps done"))
        _wrap(
            SafeCheckpointIO, "save_checkpoint", before=lambda _, __, path, *___: self.passes(f"{_kind(path)}: before")
        )
        for act, moment in (("write", ""), ("cut", "cut ")):
            _wrap(
                Record,
                act,
                before=lambda record, *_, m=moment: None if m else self.passes(f"{record.path.name}: before"),
                after=lambda record, *_, m=moment: self.passes(f"{record.path.name}: {'cut done' if m else 'written'}"),
            )
        for owner in (loop, resume):
            _wrap(owner, "keep", before=lambda *_: self._cleaning_begins(), after=lambda *_: self._cleaning_ends())
        self._watch_files()

    def _watch_files(self) -> None:
        _wrap(Path, "unlink", before=lambda *_: self._deletes())
        _wrap(Path, "replace", before=self._before_rename, after=self._after_rename)
        self._watch_open()
        _wrap(os, "fsync", before=self._before_sync)

    def _watch_open(self) -> None:
        original = Path.open

        @wraps(original)
        def opened(path: Path, *arguments: Any, **named: Any) -> Any:
            size = path.stat().st_size if path.exists() else 0
            file = original(path, *arguments, **named)
            self._files[file.fileno()] = path, size
            return file

        Path.open = opened  # type: ignore[method-assign,assignment]

    def _before_sync(self, descriptor: int) -> None:
        """A file is complete in memory: cut it to what a kill in the middle of writing would have left."""
        if descriptor not in self._files or not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        path, before = self._files[descriptor]
        now = os.fstat(descriptor).st_size
        kind = _kind(path)
        if path.suffix in _GROWS and before == 0:
            self.passes(f"{kind}: created", lambda: os.ftruncate(descriptor, 0))
            self.passes(f"{kind}: header torn", lambda: os.ftruncate(descriptor, 3))
        cut = "cut " if path.name.endswith(tuple(f"{suffix}.tmp" for suffix in _GROWS)) else ""
        self.passes(f"{kind}: {cut}half written", lambda: os.ftruncate(descriptor, before + (now - before) // 2))

    def _before_rename(self, temporary: Path, target: Path) -> None:
        cut = "cut " if target.suffix in _GROWS else ""
        self.passes(f"{_kind(target)}: {cut}before rename")

    def _after_rename(self, temporary: Path, target: Path) -> None:
        self.passes(f"{_kind(target)}: done")

    def _cleaning_begins(self) -> None:
        self.passes("cleaning: before")
        self._deleted_since_cleaning = 0

    def _cleaning_ends(self) -> None:
        self._deleted_since_cleaning = None

    def _deletes(self) -> None:
        if self._deleted_since_cleaning is not None:
            if self._deleted_since_cleaning == 1:
                self.passes("cleaning: between two")
            self._deleted_since_cleaning += 1


def _wrap(
    owner: Any, name: str, *, before: Callable[..., None] | None = None, after: Callable[..., None] | None = None
) -> None:
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(*arguments)
        result = original(*arguments, **named)
        if after is not None:
            after(*arguments)
        return result

    setattr(owner, name, wrapped)


def _kind(path: Path | str) -> str:
    """`best`, `resume`, or the name of the file that a temporary one will be."""
    name = Path(path).name.removesuffix(".tmp")
    if name.endswith(".ckpt"):
        return "best" if name.startswith("step_") else "resume"
    return name


def begun(folder: Path) -> tuple[int, int]:
    """Changes when training begins: `config.yaml` appears, or in a run that goes on, the tables are cut (replaced)."""
    return _inode(folder / "config.yaml"), _inode(folder / "evals.csv")


def supervise(
    folder: Path, before: tuple[int, int], ended: Callable[[], bool], kill: Callable[[], None], seconds: float | None
) -> float:
    """Wait for a process to end, and `kill` it once it has trained for `seconds`; how many seconds it trained.

    `before` is what `begun` said before the process was started.
    """
    began = time.monotonic()
    training = False
    while not ended():
        if not training and begun(folder) != before:
            training, began = True, time.monotonic()
        if training and seconds is not None and time.monotonic() - began >= seconds:
            kill()
            seconds = None
        time.sleep(0.001)
    return time.monotonic() - began if training else 0.0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _serve() -> NoReturn:
    import playbook.models
    import playbook.training  # noqa: F401
    from playbook.composition import compose_config

    compose_config("train", [])  # whose first time takes Hydra longest
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        before = begun(folder)
        pid = os.fork()
        if pid == 0:
            _train(request)
        kill = partial(os.kill, pid, signal.SIGKILL)
        trained = supervise(folder, before, partial(_has_ended, pid), kill, request["kill_after"])
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"code": code, "trained": trained}), flush=True)
    sys.exit(0)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _train(request: dict[str, Any]) -> NoReturn:
    """`python train.py …` in this process, as far as it gets."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _keep_what_a_finished_run_deletes(Path(request["output"]))
    if request["phase"] is not None:
        Watch(request["phase"], request["nth"]).install()
    sys.argv = ["train.py", *request["overrides"], f"output_dir={request['folder']}"]
    code: Any = 0
    try:
        runpy.run_path(str(CHECKOUT / "train.py"), run_name="__main__")
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def at_the_end(output: Path, folder: Path) -> Path:
    """Where the checkpoints are that `folder` had before its result: those to resume from are then deleted."""
    return output.parent / "at the end" / f"{folder.parent.name} {folder.name}"


def _keep_what_a_finished_run_deletes(output: Path) -> None:
    from playbook.training import resume

    def copy(folder: Path, *_: Any) -> None:
        shutil.rmtree(at_the_end(output, folder), ignore_errors=True)
        shutil.copytree(folder / "checkpoints", at_the_end(output, folder))

    _wrap(resume, "write_result", before=copy)


if __name__ == "__main__":
    _serve()
