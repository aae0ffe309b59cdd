"""Trials that were trained before, in another study or as a run of their own: they are taken over, not trained again.

Two trials are the same where their configs are (but for paths and loggers), and what else decides their numbers: the
code of their components, the data, the version of torch, the device, the threads. A trial whose `result.json` does not
say all of that is not reused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from playbook.config import dump_config, read_config
from playbook.errors import InputError
from playbook.lock import LOCK
from playbook.run_files import (
    CHECKPOINTS,
    CONFIG,
    CRASHES,
    RESULT,
    WANDB_ID,
    Result,
    commit_name,
    read_result,
    write_result,
)
from playbook.study.app import App
from playbook.study.design import Trial
from playbook.study.study_files import fault_in

_ITS_OWN = (CONFIG, RESULT, WANDB_ID, LOCK)
"""Files that are about the folder that they are in, or written last."""


@dataclass(frozen=True)
class TrainedBefore:
    """A trial of this study that was trained elsewhere: in the folder `source`, with this result.

    `config` is what its `config.yaml` here says, but for its folder.
    """

    trial: Trial
    source: Path
    result: Result
    config: Mapping[str, Any]

    def take_over(self, folder: Path) -> None:
        """Put its files into the study in `folder`, the result last. Checkpoints are linked where the disk can.

        Raises:
            OSError: the disk gave up; the trial has no result yet, and can be taken over again.
        """
        own = folder / self.trial.folder
        own.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.source.rglob("*")):
            name = path.relative_to(self.source)
            skipped = path.name in _ITS_OWN or path.match(CRASHES) or path.suffix == ".tmp" or name.parts[0] == "wandb"
            if path.is_file() and not skipped:
                (own / name).parent.mkdir(parents=True, exist_ok=True)
                _copy(path, own / name, link=name.parts[0] == CHECKPOINTS)
        (own / CONFIG).write_text(dump_config({**self.config, "output_dir": str(own)}), encoding="utf-8")
        write_result(own, replace(self.result, reused_from=self.result.reused_from or str(self.source)))


def trained_before(
    folder: Path, missing: Sequence[Trial], configs: Iterable[Mapping[str, Any]], app: App
) -> list[TrainedBefore]:
    """Those of the `missing` trials of the study in `folder` that another study or a run beside it has.

    `configs` are those of the trials. A trial that was begun here goes on here.
    """
    elsewhere = list(_finished_trials(folder))
    if not elsewhere:
        return []
    wanted = {}
    for trial, plain in zip(missing, configs, strict=True):
        if not (folder / trial.folder / CONFIG).exists() and (config := app.recorded_config(plain)) is not None:
            wanted[_text(app.identity(config))] = (trial, config)
    found: dict[int, TrainedBefore] = {}
    for source in elsewhere:
        if len(found) == len(wanted):
            break
        try:
            same = wanted.get(_text(app.identity(read_config(source / CONFIG))))
            result = None if same is None else read_result(source)
        except (InputError, OSError):  # damaged: nothing to take over
            continue
        if same is None or result is None or fault_in(result) or same[0].number in found:
            continue
        trial, config = same
        if result.environment and result.environment == app.environment(config) and _has_commits(source, config):
            found[trial.number] = TrainedBefore(trial, source, result, config)
    return [found[number] for number in sorted(found)]


def sentence(reused: Sequence[TrainedBefore], n_trials: int) -> str:
    """`3 of 6 trials were trained before (in study a): reused`."""
    counts = Counter(_home(each.source) for each in reused)
    names = [name for name, _ in counts.most_common()]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{len(reused)} of {n_trials} trials were trained before (in {shown}): reused; study.reuse=false trains anew"


def _has_commits(source: Path, config: Mapping[str, Any]) -> bool:
    """Whether it kept the commits that the trial is to keep."""
    return all((source / CHECKPOINTS / commit_name(step)).exists() for step in config.get("keep_commits", ()))


def _home(source: Path) -> str:
    return "runs of their own" if source.parent.name == "runs" else f"study {source.parent.name}"


def _finished_trials(folder: Path) -> Iterator[Path]:
    """The folders of finished trials of other studies and of runs under the same `output_root`."""
    studies_dir = folder.parent
    for path in sorted([*studies_dir.glob(f"*/trial_*/{RESULT}"), *(studies_dir.parent / "runs").glob(f"*/{RESULT}")]):
        if path.parent.parent != folder and (path.parent / CONFIG).exists():
            yield path.parent


def _text(identity: Mapping[str, Any]) -> str:
    return json.dumps(identity, sort_keys=True, default=str)


def _copy(source: Path, target: Path, *, link: bool) -> None:
    target.unlink(missing_ok=True)
    if link:  # nobody writes into a checkpoint: it is replaced
        try:
            os.link(source, target)
        except OSError:  # another disk, or one that has no links
            pass
        else:
            return
    shutil.copyfile(source, target)
