"""One trial, from a checked config to `result.json`.

The order matters to whoever mistypes: data are read, the model, the task, the optimizer and the schedule are built,
and the objective is looked up, before the folder of the run is made.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from rich.console import Console

from playbook.config import Config
from playbook.errors import CrashError, InputError
from playbook.lock import locked
from playbook.run_files import Result, read_result, write_result
from playbook.training.build import Parts, build
from playbook.training.checkpoints import step_of
from playbook.training.code_hash import code_of
from playbook.training.commit import History
from playbook.training.device import choose_device, environment, first_line, is_out_of_memory
from playbook.training.distributed import Rank, run_ranks
from playbook.training.fit import Fit
from playbook.training.progress import summary
from playbook.training.result import infeasible
from playbook.training.resume import LastCommit, begin, finished_result, last_commit
from playbook.training.signals import Interrupts

OUT_OF_MEMORY = 99
"""The exit code by which one of several ranks says so."""


def train(config: Config, *, verbose: bool = True, reuse_data: bool = False) -> Result:
    """Train the trial that `config` describes into `config.output_dir`, going on where it was interrupted.

    A finished trial is returned as it is. With `reuse_data` the data stay in memory for the next trial of this process
    that asks for the same: files that have changed in between are not read again.

    Raises:
        InputError: something in the config does not fit the data, the machine or the folder. Nothing has been written.
        CrashError: the disk or a process gave up. The last commit is kept, and the same call goes on from there.
        SystemExit: a signal asked to stop (130 for Ctrl-C, 143 for the others). What was done is saved.
    """
    assert config.output_dir is not None, "the door names the folder"
    folder = Path(config.output_dir)
    with _disk_trouble_is_a_crash(folder):
        result = finished_result(folder, config)
        mirrored = None
        finished_before = result is not None
        if result is None:
            result, mirrored = _train_into(folder, config, verbose, reuse_data)
    if verbose:
        console = Console()
        if finished_before:
            _say_that_it_was_finished(console, result, config)
        console.print(summary(result, str(folder)), crop=False)
        if mirrored:
            console.print(f"W&B: {mirrored}", soft_wrap=True, highlight=False)
    return result


def _say_that_it_was_finished(console: Console, result: Result, config: Config) -> None:
    console.print("finished before, not trained again; overwrite=true does", style="dim")
    then, now = result.environment or {}, code_of(config)
    for key in now:
        if then.get(key) != now[key]:
            console.print(f"[yellow]the {key} has changed since: this is the result of the old one[/]")


def _train_into(folder: Path, config: Config, verbose: bool, reuse_data: bool) -> tuple[Result, str | None]:
    # An earlier trial of this process is kept alive by reference cycles within Lightning.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()
    first = Rank(0, config.trainer.num_devices)
    parts, excess = _build_or_excess(config, first, reuse_data)
    here = environment(choose_device(config.trainer.device, config.trainer.precision, first), first) | code_of(config)
    busy = f"output_dir={folder}: another process is training into this folder"
    with locked(folder, busy) as lock, Interrupts() as interrupts:
        commit = begin(folder, config, here)
        mirrored = None
        result: Result | None
        if parts is None:
            result = _out_of_memory(folder, config, commit.history, here, step=0, message=excess)
        elif first.world_size == 1:
            result, mirrored = _run(config, folder, parts, commit, here, interrupts, verbose)
        else:
            del parts  # the ranks build their own
            work = (config, verbose)
            code = run_ranks(_train_rank, work, world_size=first.world_size, lock=lock, interrupts=interrupts)
            if code == OUT_OF_MEMORY:
                history = last_commit(folder).history
                step = history.objectives[-1][0] if history.objectives else 0
                message = "a rank ran out of memory after this commit"
                result = _out_of_memory(folder, config, history, here, step=step, message=message)
            elif code:
                sys.exit(code)
            else:
                result = read_result(folder)
                assert result is not None, "the first rank writes the result"
        if result is None:
            sys.exit(interrupts.exit_code)
    return result, mirrored


def _build_or_excess(config: Config, rank: Rank, reuse_data: bool) -> tuple[Parts | None, str]:
    """The parts; or, where memory does not hold them, what was said of it: a fact of the trial, not bad input."""
    try:
        return build(config, rank, reuse_data=reuse_data), ""
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None, first_line(error)


def _out_of_memory(
    folder: Path, config: Config, history: History, here: Mapping[str, Any], *, step: int, message: str
) -> Result:
    result = infeasible(
        config,
        history,
        reason="out_of_memory",
        step=step,
        message=message,
        seconds=history.seconds,
        environment=here,
    )
    write_result(folder, result)
    return result


def _train_rank(rank: Rank, config: Config, verbose: bool) -> None:
    """The work of one of several processes; the one that started them has brought the folder to its last commit."""
    assert config.output_dir is not None
    folder = Path(config.output_dir)
    with _said_by_the_rank(), _disk_trouble_is_a_crash(folder), Interrupts() as interrupts:
        parts = build(config, rank)
        here = environment(parts.device, rank) | code_of(config)
        result, _ = _run(config, folder, parts, last_commit(folder), here, interrupts, verbose)
    if result is None:
        sys.exit(interrupts.exit_code)


@contextmanager
def _said_by_the_rank() -> Iterator[None]:
    """The exit codes of the command line, for the process that started the rank: an exception would lose its kind."""
    try:
        yield
    except (InputError, CrashError) as error:
        print("".join(f"error: {line}\n" for line in str(error).splitlines()), end="", file=sys.stderr)
        sys.exit(error.exit_code)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        sys.exit(OUT_OF_MEMORY)  # the other ranks do not know and wait for this one: the trial is ended from outside


def _run(
    config: Config,
    folder: Path,
    parts: Parts,
    commit: LastCommit,
    here: Mapping[str, Any],
    interrupts: Interrupts,
    verbose: bool,
) -> tuple[Result | None, str | None]:
    parts.mirror.open(run_dir=str(folder), config=config.plain())
    mirrored = parts.mirror.where
    result = None
    try:
        result = Fit(config, folder, parts, commit.history, here, interrupts, verbose).run(commit.path)
        if result is not None and parts.rank.is_first:
            write_result(folder, result)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or parts.rank.world_size > 1:
            raise
        step = step_of(commit.path) if commit.path else 0
        result = _out_of_memory(folder, config, commit.history, here, step=step, message=first_line(error))
    finally:
        parts.mirror.close(result)
    return result, mirrored


@contextmanager
def _disk_trouble_is_a_crash(folder: Path) -> Iterator[None]:
    """A full disk, a read-only or vanished folder: one line instead of a traceback. Other errors pass."""
    try:
        yield
    except OSError as error:
        if not _concerns(folder, error):
            raise
        _crash(folder, error.strerror or str(error), error)
    except CrashError as error:
        _crash(folder, str(error), error)


def _concerns(folder: Path, error: OSError) -> bool:
    if error.filename is None:  # a write to an open file
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
    named = Path(str(error.filename)).absolute()
    return named.is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(named)


def _crash(folder: Path, reason: str, error: Exception) -> NoReturn:
    raise CrashError(
        f"output_dir={folder}: {reason}; the last commit is kept, and the same command (without overwrite=true)"
        " goes on from there"
    ) from error
