"""The folder of a run: whose it is, who may write there, and where the run in it stands."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playbook.config import Config, difference, dump_config, identity, read_config
from playbook.errors import InputError
from playbook.records import CHECKPOINTS, CONFIG, RESULT, STEPS, TABLES, Result, Table, read_result, replace_file
from playbook.training.checkpoints import SafeCheckpointIO, best_path, keep_only, step_of
from playbook.training.commit import GENERATIONS, History


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
    if all(path.name == f"{CONFIG}.tmp" for path in folder.iterdir()):  # empty, or killed in its first moment
        return None
    if not (folder / CONFIG).exists():
        raise InputError(f"output_dir={folder}: this folder has files and is not a run's; name a new one")
    if config.overwrite:
        return None
    if differences := difference(identity(read_config(folder / CONFIG)), config.identity()):
        raise InputError(
            f"output_dir={folder} holds a run of another config ({'; '.join(differences)});"
            " name another folder, or overwrite=true to start afresh"
        )
    return read_result(folder)


def begin(folder: Path, config: Config, here: Mapping[str, Any]) -> tuple[Path | None, History]:
    """Bring the folder to its last commit: the checkpoint to go on from, if any, and what the trial remembered there.

    What a crash left half written is removed, and rows past the commit are cut off. `here` is the environment.

    Raises:
        InputError: the run was begun in another environment, where it would have other numbers. Nothing was changed.
    """
    checkpoints = folder / CHECKPOINTS
    if config.overwrite:
        _clear(folder)
    if config.overwrite or not (folder / CONFIG).exists():
        replace_file(folder / CONFIG, dump_config(config.plain()))
    checkpoints.mkdir(exist_ok=True)
    resume_from, history = last_commit(folder)
    if resume_from is not None and config.resume != "force":
        there = SafeCheckpointIO().load_checkpoint(resume_from)["environment"]
        if differences := difference(there, here):
            raise InputError(
                f"output_dir={folder} was begun elsewhere ({'; '.join(differences)}) and would end with other numbers;"
                " resume=force goes on all the same"
            )
    best = [best_path(checkpoints, step) for step, _ in history.best(config.objective.mode, config.keep_best)]
    step = step_of(resume_from) if resume_from else -1
    generations = sorted((path for path in checkpoints.glob("resume_*.ckpt") if step_of(path) <= step), key=step_of)
    keep_only(checkpoints, [*best, *generations[-GENERATIONS:]])
    for name in TABLES:
        # A step's row describes the weights before its update: after `step` updates the last row is of step - 1.
        Table(folder, name).cut(step - 1 if name == STEPS else step)
    return resume_from, history


def last_commit(folder: Path) -> tuple[Path | None, History]:
    """The newest checkpoint to go on from that can be trusted, and what the trial remembered there."""
    checkpoints = folder / CHECKPOINTS
    for path in sorted(checkpoints.glob("resume_*.ckpt"), key=step_of, reverse=True):
        try:
            return path, History.of(SafeCheckpointIO().load_checkpoint(path)["history"])
        except (InputError, KeyError, TypeError, ValueError) as error:
            print(f"{error}; going on from the commit before it", file=sys.stderr)
    return None, History()


def _clear(folder: Path) -> None:
    """Delete the files of a run and no others. Killed in between, what is left is an unfinished run of the old config.

    So the config stays, to be replaced, and the checkpoints to resume from go before what they need beside them.
    """
    checkpoints = folder / CHECKPOINTS
    (folder / RESULT).unlink(missing_ok=True)
    if checkpoints.exists():
        keep_only(checkpoints, checkpoints.glob("step_*.ckpt"))
        keep_only(checkpoints, [])
    for name in TABLES:
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.tmp").unlink(missing_ok=True)
