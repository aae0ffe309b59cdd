"""A run that begins where another one was, as if it had been that one until then (`continue_from`).

What a run has done by a commit depends on its config and on the learning rate of each step so far. Where those of
another run are the same, its records, its best checkpoints and its commit are this run's too, bit for bit: a decay that
begins late costs its own steps alone (G1), and a constant rate can be gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbook.config import Config, difference, load_config, read_config
from playbook.errors import InputError
from playbook.optim import learning_rate
from playbook.run_files import CHECKPOINTS, CONFIG, RECORDS, STEPS, Record, read_table, replace_file
from playbook.training.averaging import averaging_of
from playbook.training.checkpoints import (
    SafeCheckpointIO,
    best_path,
    commit_path,
    load_of_step,
    resume_path,
    saved,
    step_of,
)
from playbook.training.data import without_unknown_data
from playbook.training.state import RunState

MAY_DIFFER = ("max_steps", "schedule", "trainer.num_threads")
"""Keys that say nothing of the steps before a commit that their learning rates and the environment do not say."""
_CODE_OF_SCHEDULE = "code of schedule"


@dataclass(frozen=True)
class Beginning:
    """The commit of the run in the folder `source` that a run of `config` in the environment `here` begins with."""

    source: Path
    state: RunState
    config: Config
    here: Mapping[str, Any]

    def put_into(self, folder: Path) -> None:
        """Give the run in `folder` the records, the checkpoints and, last, the commit to go on from.

        Raises:
            InputError: one of them is damaged or missing.
        """
        theirs, ours = self.source / CHECKPOINTS, folder / CHECKPOINTS
        for name in RECORDS:
            mark = self.state.tables[name]
            if mark.size:
                replace_file(folder / name, Record(self.source, name, mark).check()[: mark.size])
        for step in self.state.weights_to_keep(self.config):
            self._copy(best_path(theirs, step), best_path(ours, step))
        for step in (each for each in self.config.keep_commits if each <= self.state.step):
            self._copy(commit_path(theirs, step), commit_path(ours, step))
        assert self.state.checkpoint is not None
        self._copy(self.state.checkpoint, resume_path(ours, self.state.step))

    def _copy(self, source: Path, target: Path) -> None:
        content = load_of_step(source)
        content["hyper_parameters"] = self.config.plain()
        content["environment"] = dict(self.here)
        if "loops" in content:  # of the source's last step Lightning says that it is the last batch
            content["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
        SafeCheckpointIO().save_checkpoint(content, target)


def continue_from(config: Config, here: Mapping[str, Any]) -> Beginning:
    """The newest commit of the run in `config.continue_from` up to which a run of `config` would be the same.

    `here` is the environment.

    Raises:
        InputError: one line: there is no run, it is another one from the start, or it kept no such commit.
    """
    source = Path(str(config.continue_from))
    shown = f"continue_from={source}"
    if not (source / CONFIG).is_file():
        raise InputError(f"{shown}: there is no run here ({CONFIG} is missing)")
    theirs = load_config(read_config(source / CONFIG))
    if lines := difference(_compared(theirs.identity()), _compared(config.identity())):
        raise InputError(
            f"{shown}: its run is another one from the start ({'; '.join(lines)}); what may differ is"
            f" {' and '.join(MAY_DIFFER[:2])}"
        )
    alike = _num_steps_alike(source, theirs, config)
    commits = list(_commits(source, theirs, config, alike))
    if not commits:
        kept = ", ".join(str(step_of(path)) for path in saved(source / CHECKPOINTS, "commit")) or "none"
        raise InputError(
            f"{shown}: the two runs are the same for {alike} steps, and it kept no commit there after step 0 (its kept"
            f" commits: {kept}); train it with keep_commits=[<steps>] overwrite=true"
        )
    state = RunState.of_checkpoint(commits[-1], load_of_step(commits[-1]))
    there = {key: value for key, value in state.environment.items() if key != _CODE_OF_SCHEDULE}
    now = {key: value for key, value in without_unknown_data(there, here).items() if key != _CODE_OF_SCHEDULE}
    if config.resume != "force" and (lines := difference(there, now)):
        raise InputError(
            f"{shown} was trained elsewhere ({'; '.join(lines)}): from here on it would have other numbers;"
            " resume=force goes on all the same"
        )
    for step in (each for each in config.keep_commits if each <= state.step):
        if not commit_path(source / CHECKPOINTS, step).exists():
            raise InputError(f"{shown}: it kept no commit at step {step}; leave that out of keep_commits")
    for path in (best_path(source / CHECKPOINTS, step) for step in state.weights_to_keep(config)):
        if not path.exists():
            raise InputError(f"{shown}: {path} is missing, the weights of one of the best evaluations until then")
    return Beginning(source, state, config, here)


def _compared(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in identity.items() if not f"{key}.".startswith(tuple(f"{k}." for k in MAY_DIFFER))
    }


def _num_steps_alike(source: Path, theirs: Config, config: Config) -> int:
    """How many steps a run of `config` would do as that in `source` has done them: by the rates that it recorded."""
    schedule, averaging = config.schedule.build(), averaging_of(config)
    given = {"lr": config.lr, "schedule": schedule, "warmup_steps": config.warmup_steps}
    steps = read_table(source, STEPS)
    for step, recorded in zip(steps["step"], steps["lr"], strict=True):
        if step >= config.total_steps or recorded != learning_rate(step, max_steps=config.max_steps, **given):
            return int(step)
        if averaging is not None:
            shares = {averaging.share(step + 1, total) for total in (theirs.total_steps, config.total_steps)}
            if len(shares) > 1:
                return int(step)
    return len(steps)


def _commits(source: Path, theirs: Config, config: Config, alike: int) -> Iterator[Path]:
    """Those from which the run can go on, the oldest first: a run of `config` would have committed there too.

    Where a sample is validated, the whole split is after the last step, which is a step as any other here.
    """
    checkpoints = source / CHECKPOINTS
    for path in sorted([*saved(checkpoints, "commit"), *saved(checkpoints, "resume")], key=step_of):
        step = step_of(path)
        is_last_of_a_sample = step == theirs.total_steps and config.eval_examples is not None
        if 0 < step <= alike and step < config.total_steps and config.is_evaluated_at(step) and not is_last_of_a_sample:
            yield path
