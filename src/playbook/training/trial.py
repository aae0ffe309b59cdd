"""One trial, from a checked config to `result.json`.

The order matters to whoever mistypes: data are read, the model, the task, the optimizer and the schedule are built,
and the objective is looked up, before the folder of the run is made.
"""

from __future__ import annotations

import errno
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console

from playbook.config import Config
from playbook.errors import CrashError, InputError, exit_with
from playbook.lock import locked
from playbook.run_files import CONFIG, Result, read_paused, read_result
from playbook.training.build import TrialSetup, build
from playbook.training.code_hash import code_of
from playbook.training.commands import Commands
from playbook.training.compilation import compiler_failure_is_a_crash
from playbook.training.data import refuse_other_data
from playbook.training.device import choose_device, environment
from playbook.training.distributed import Rank, meeting, run_ranks
from playbook.training.initial_weights import refuse_other_weights
from playbook.training.loop import TrialLoop
from playbook.training.memory import MemoryLimit
from playbook.training.nodes import Launch, launch_of
from playbook.training.progress import summary
from playbook.training.result import infeasible
from playbook.training.resume import abandon, begin, finish, finished_result, last_commit
from playbook.training.signals import Interrupts
from playbook.training.state import RunState

OUT_OF_MEMORY = 99
"""The exit code by which one of several ranks says so."""


def train(config: Config, *, verbose: bool = True, reuse_data: bool = False) -> Result:
    """Train the trial that `config` describes into `config.output_dir`, going on where it was interrupted.

    A finished trial is returned as it is; one that rests at `config.pause_at` has the status `paused`. With
    `reuse_data` the data stay in memory for the next trial of this process that asks for the same: files that have
    changed in between are not read again.

    Raises:
        InputError: something in the config does not fit the data, the machine or the folder. Nothing has been written.
        CrashError: the disk or a process gave up. The last commit is kept, and the same call goes on from there.
        SystemExit: a signal asked to stop (130 for Ctrl-C, 143 for the others). What was done is saved.
    """
    if config.output_dir is None:
        raise InputError("output_dir: a trial needs a folder; playbook.compose names one after the config")
    folder = Path(config.output_dir)
    console = Console(quiet=not verbose)
    with _disk_trouble_is_a_crash(folder):
        result = finished_result(folder, config)
        logged_to = None
        if result is not None:
            caveats = (refuse_other_data(folder, config, result), refuse_other_weights(folder, config, result))
            _say_that_it_was_finished(console, result, config, "; ".join(filter(None, caveats)))
        else:
            launch = launch_of(config.trainer)
            alone = launch.ranks[0].world_size == 1
            with nullcontext() if alone else Commands(launch, str(folder)) as commands:
                result, logged_to = _train(folder, config, launch, commands, verbose, reuse_data)
    console.print(str(folder), style="bold", soft_wrap=True, highlight=False, markup=False)  # to be copied whole
    console.print(summary(result))
    if logged_to:
        console.print(f"W&B: {logged_to}", soft_wrap=True, highlight=False)
    return result


def _say_that_it_was_finished(console: Console, result: Result, config: Config, about_data: str) -> None:
    console.print("finished before, not trained again; overwrite=true does", style="dim")
    if about_data:
        console.print(about_data, style="yellow", markup=False, soft_wrap=True)
    then, now = result.environment or {}, code_of(config)
    for key in now:
        if then.get(key) != now[key]:
            console.print(f"[yellow]the {key} has changed since: this is the result of the old one[/]")


def _train(
    folder: Path, config: Config, launch: Launch, commands: Commands | None, verbose: bool, reuse_data: bool
) -> tuple[Result, str | None]:
    """The result, and where the logger shows the run. Running out of memory at any point is a result.

    There are `commands` where there are several ranks.
    """
    # An earlier trial of this process is kept alive by reference cycles within Lightning.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        gc.collect()
        torch.cuda.empty_cache()
    rank, alone = launch.ranks[0], commands is None
    device = choose_device(config.trainer.device, config.trainer.precision, rank)
    setup = result = logged_to = None
    with MemoryLimit() as memory:
        # For several ranks this is a check, on the CPU: they build their own.
        setup = build(config, rank, device if alone else torch.device("cpu"), reuse_data=reuse_data and alone)
    here = environment(device, rank) | code_of(config)
    if setup is not None:
        here |= setup.fingerprints
    busy = f"output_dir={folder}: another process is training into this folder"
    # Of several nodes the first has the folder, and the ranks of all meet when it is ready.
    with locked(folder, busy) if launch.is_first else nullcontext() as lock, Interrupts() as interrupts:
        state = begin(folder, config, here) if launch.is_first else RunState()
        if setup is not None and commands is None:
            result, logged_to = _run(setup, state, interrupts, memory, verbose)
        elif setup is not None and commands is not None:
            del setup
            commands.ready(interrupts)
            work = (config, verbose)
            code = run_ranks(
                _train_rank,
                work,
                ranks=launch.ranks,
                meeting=commands.environment(),
                lock=lock,
                interrupts=interrupts,
                failed_elsewhere=commands.one_has_failed,
            )
            if code == OUT_OF_MEMORY:
                state = last_commit(folder)
                memory.exceeded = "a rank ran out of memory after this commit"
            elif code:
                sys.exit(code)
            else:
                result = read_result(folder) or read_paused(folder)
                assert result is not None, "the first rank writes the result"
        if result is None and memory.exceeded is not None:
            result = infeasible(config, state, reason="out_of_memory", step=state.step, message=memory.exceeded)
            finish(folder, config, result, state)
        if result is None:
            sys.exit(interrupts.exit_code)
    return result, logged_to


def _train_rank(rank: Rank, config: Config, verbose: bool) -> None:
    """The work of one of several processes; the one that started them has brought the folder to its last commit.

    It ends with an exit code, for that process: an exception would lose its kind on the way.
    """
    assert config.output_dir is not None
    folder = Path(config.output_dir)
    try:
        with _disk_trouble_is_a_crash(folder), MemoryLimit() as memory, Interrupts() as interrupts:
            setup = build(config, rank, choose_device(config.trainer.device, config.trainer.precision, rank))
            with meeting(rank, setup.device):
                if not (folder / CONFIG).exists():
                    raise CrashError("it is not on a disk that all nodes share")
                state = last_commit(folder)
                state.environment = environment(setup.device, rank) | code_of(config) | setup.fingerprints
                result, _ = _run(setup, state, interrupts, memory, verbose)
                if memory.exceeded is not None:  # the others do not know and wait for this one: its parent ends them
                    sys.exit(OUT_OF_MEMORY)
    except (InputError, CrashError) as error:
        exit_with(error)
    if memory.exceeded is not None:
        sys.exit(OUT_OF_MEMORY)
    if result is None:
        sys.exit(interrupts.exit_code)


def _run(
    setup: TrialSetup, state: RunState, interrupts: Interrupts, memory: MemoryLimit, verbose: bool
) -> tuple[Result | None, str | None]:
    config, logger = setup.config, setup.logger
    assert config.output_dir is not None
    folder = Path(config.output_dir)
    logger.open(run_dir=str(folder), config=config.plain())
    logged_to = logger.where
    result = loop = None
    try:
        with compiler_failure_is_a_crash(config.trainer.compile), memory:
            loop = TrialLoop(setup, state, interrupts, verbose=verbose)
            result = loop.run()
        if memory.exceeded is not None and setup.rank.world_size == 1:
            if loop is not None:
                loop.record_steps()
            result = infeasible(config, state, reason="out_of_memory", step=state.step, message=memory.exceeded)
    except InputError:  # a callback that is refused when it is set up
        if setup.rank.is_first:
            abandon(folder)
        raise
    finally:
        logger.close(None if result is not None and result.status == "paused" else result)
    if result is not None and setup.rank.is_first:
        finish(folder, config, result, state)  # last: killed before it, the logger is told again
    return result, logged_to


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
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
    named = Path(str(error.filename)).absolute()
    return named.is_relative_to(folder.absolute()) or folder.absolute().is_relative_to(named)


def _crash(folder: Path, reason: str, error: Exception) -> NoReturn:
    raise CrashError(
        f"output_dir={folder}: {reason}; the last commit is kept, and the same command (without overwrite=true)"
        " goes on from there"
    ) from error
