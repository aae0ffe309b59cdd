"""The folder of a run: whose it is, who may write there, and where the run in it stands."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from playbook.config import Config, difference, dump_config, identity, read_config
from playbook.errors import InputError
from playbook.lock import LOCK
from playbook.run_files import (
    CHECKPOINTS,
    CONFIG,
    CRASHES,
    PAUSED,
    RECORDS,
    RESULT,
    STEPS,
    WANDB_ID,
    Record,
    Result,
    read_result,
    replace_file,
    write_result,
)
from playbook.training.checkpoints import best_path, commit_path, keep, keep_only, load_of_step, saved
from playbook.training.continuation import continue_from
from playbook.training.data import without_unknown_data
from playbook.training.state import RunState


def finished_result(folder: Path, config: Config) -> Result | None:
    """The result of a finished trial of this config, None where there is something left to do.

    Raises:
        InputError: the folder holds something else. Nothing has been written.
    """
    try:
        parent = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:  # a name that is too long
        raise InputError(f"output_dir={folder}: {os.strerror(error.errno or 0)}") from None
    if not parent.is_dir():
        raise InputError(f"output_dir={folder}: {parent} is a file; name a folder")
    if parent != folder:
        return None
    if all(path.name in (f"{CONFIG}.tmp", LOCK) or path.match(f"{CRASHES}*") for path in folder.iterdir()):
        return None  # empty, or it ended in its first moment
    if not (folder / CONFIG).exists():
        raise InputError(f"output_dir={folder}: this folder has files and is not a run's; name a new one")
    if config.overwrite:
        return None
    if differences := difference(identity(read_config(folder / CONFIG)), config.identity()):
        raise InputError(
            f"output_dir={folder} holds a run of another config ({'; '.join(differences)});"
            " name another folder, or overwrite=true to start afresh"
        )
    result = read_result(folder)
    if result is not None:
        if result.status == "complete":
            _refuse_commits_that_are_missing(folder, config, result.steps)
        with suppress(OSError):  # killed between the result and this; where nothing can be deleted, it does no harm
            for path in (*saved(folder / CHECKPOINTS, "resume"), folder / PAUSED):
                path.unlink(missing_ok=True)
    return result


def begin(folder: Path, config: Config, here: Mapping[str, Any]) -> RunState:
    """Bring the folder to its last commit: what a crash left half written is removed, rows past it are cut off.

    `here` is the environment.

    Raises:
        InputError: the run was begun in another environment, where it would have other numbers, or a table or one of
            its best checkpoints is not what the run wrote; or it cannot go on from where `continue_from` says. Nothing
            was changed.
    """
    checkpoints = folder / CHECKPOINTS
    begins = config.overwrite or not saved(checkpoints, "resume")
    beginning = continue_from(config, here) if begins and config.continue_from is not None else None
    if config.overwrite:
        _clear(folder)
    if config.overwrite or not (folder / CONFIG).exists():
        replace_file(folder / CONFIG, dump_config(config.plain()))
    checkpoints.mkdir(exist_ok=True)
    if beginning is not None:
        beginning.put_into(folder)
    state = last_commit(folder)
    _refuse_commits_that_are_missing(folder, config, state.step)
    if state.checkpoint is not None and config.resume != "force":
        _refuse_another_environment(folder, state.environment, here)
    best = state.weights_to_keep(config)
    _refuse_damage(best_path(checkpoints, step) for step in best)
    _tell_of_missing(folder, state, best)
    records = [Record(folder, name, state.tables.get(name)) for name in RECORDS]
    for record in records:
        record.check()
    keep(checkpoints, best, newest=state.step if state.checkpoint else -1)
    for record in records:
        record.cut()
    state.environment = dict(here)
    return state


def last_commit(folder: Path) -> RunState:
    """The newest commit whose checkpoint can be trusted; that of a run that has not begun where there is none."""
    commits = saved(folder / CHECKPOINTS, "resume")
    for path in reversed(commits):
        try:
            return RunState.of_checkpoint(path, load_of_step(path))
        except InputError as error:
            next_best = "beginning again from step 0" if path == commits[0] else "going on from the commit before it"
            print(f"{error}; {next_best}", file=sys.stderr)
    return RunState()


def finish(folder: Path, config: Config, result: Result, state: RunState) -> None:
    """Write `result.json`, which ends the run: of its commits those stay that were to be kept. Or let it rest."""
    write_result(folder, result)
    if result.status != "paused":
        keep(folder / CHECKPOINTS, state.weights_to_keep(config), generations=0)
        (folder / PAUSED).unlink(missing_ok=True)


def abandon(folder: Path) -> None:
    """Leave nothing of a run that turned out to be refused before its first commit, where nothing else is there."""
    expected = {CONFIG, CHECKPOINTS, LOCK, WANDB_ID, *RECORDS}
    if saved(folder / CHECKPOINTS, "resume") or {path.name for path in folder.iterdir()} - expected:
        return
    _clear(folder)
    for name in (CONFIG, LOCK):
        (folder / name).unlink(missing_ok=True)
    (folder / CHECKPOINTS).rmdir()
    folder.rmdir()


def _refuse_another_environment(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    if differences := difference(there, without_unknown_data(there, here)):
        raise InputError(
            f"output_dir={folder} was begun elsewhere ({'; '.join(differences)}) and would end with other numbers;"
            " resume=force goes on all the same"
        )


def _refuse_commits_that_are_missing(folder: Path, config: Config, done: int) -> None:
    """A commit that was to be kept and was not: the run has passed it, and does not come back."""
    for step in (each for each in config.keep_commits if each <= done):
        if not commit_path(folder / CHECKPOINTS, step).exists():
            raise InputError(
                f"keep_commits={config.keep_commits}: the run in {folder} is at step {done} and kept no commit at step"
                f" {step}; leave it out, or train again with overwrite=true"
            )


def _refuse_damage(best: Iterable[Path]) -> None:
    """A best checkpoint cannot be made again from a later commit: what to do about it is the user's to say.

    One that is missing is told by `_tell_of_missing`.
    """
    for path in best:
        if path.exists():
            try:
                load_of_step(path)
            except InputError as error:
                raise InputError(f"{error}; delete it to go on without it, or overwrite=true to train again") from None


def _tell_of_missing(folder: Path, state: RunState, best: Iterable[int]) -> None:
    """Say which checkpoints were deleted from outside; whatever a crash leaves has all of them.

    Raises:
        InputError: it was renamed: another checkpoint is not the one of its name. Nothing was changed.
    """
    checkpoints = folder / CHECKPOINTS
    commits = saved(checkpoints, "resume")
    if not commits and (folder / STEPS).exists():  # the first commit is before the first step
        print(f"{checkpoints}: no checkpoint to go on from is left; beginning again from step 0", file=sys.stderr)
    if state.checkpoint is None or state.checkpoint != commits[-1]:
        return  # the best of an older commit may have been deleted by a later one, which the run makes again
    for step in best:
        if not (path := best_path(checkpoints, step)).exists():
            _refuse_damage(saved(checkpoints, "step"))
            print(f"{path} is missing, the weights of one of the best evaluations; going on without", file=sys.stderr)


def _clear(folder: Path) -> None:
    """Delete the files of a run and no others. Killed in between, what is left is an unfinished run of the old config.

    So the config stays, to be replaced, and the checkpoints to resume from go before what they need beside them.
    """
    checkpoints = folder / CHECKPOINTS
    (folder / RESULT).unlink(missing_ok=True)
    (folder / PAUSED).unlink(missing_ok=True)
    (folder / WANDB_ID).unlink(missing_ok=True)
    if checkpoints.exists():
        keep_only(checkpoints, saved(checkpoints, "step"))
        keep_only(checkpoints, [])
    for name in RECORDS:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.tmp").unlink(missing_ok=True)
