"""What a study has to know of the program whose trials it runs.

`App` knows nothing of it and serves any Hydra app that returns its objective. A program overrides what it can say
more about, and names its class in `study.app`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from playbook.config import flatten
from playbook.errors import InputError
from playbook.study.design import Design, Trial


class App:
    """Any Hydra app."""

    def plain_config(self, cfg: DictConfig) -> dict[str, Any]:
        """The config of a trial as plain containers, from what Hydra composed, with its `hydra` block.

        Raises:
            InputError: a line for each fault.
        """
        own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        plain = OmegaConf.to_container(own, resolve=True)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    def check(self, plain: Mapping[str, Any]) -> None:
        """Look at the config of one trial before anything runs.

        Raises:
            InputError: a line for each fault.
        """

    def refusals(self, design: Design) -> Sequence[str]:
        """A line for each thing that no study of this program may do."""
        return []

    def identity(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The flat settings that decide what a trial computes: a study in which they have changed is another one."""
        return dict(flatten(plain))

    def recorded_config(self, plain: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a trial's `config.yaml` says; None where the program writes none, and its trials are never reused."""
        return None

    def environment(self, plain: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What besides its config decides a trial's numbers here: as in `Result.environment`; None where unknown."""
        return None

    def default_name(self, cfg: DictConfig, varied: Sequence[str]) -> str:
        """Where a study has no name, what its name begins with; `varied` are the keys that its trials differ in."""
        return str(cfg.hydra.job.name)

    def num_devices(self, plain: Mapping[str, Any]) -> int:
        """How many GPUs a trial takes where there are any; 0: none."""
        return 1

    def num_steps(self, plain: Mapping[str, Any]) -> int | None:
        """How many steps a trial trains; None where the program does not say."""
        return None

    def step_of_rung(self, plain: Mapping[str, Any], share: float) -> int | None:
        """Where a trial rests that has done a share of its steps; None: nowhere before its end.

        Raises:
            InputError: the trials of this program cannot rest.
        """
        raise InputError("study.rungs: the trials of this program cannot pause; leave it out")

    def pause_overrides(self, step: int) -> list[str]:
        """Overrides by which a trial rests at a step, so that it can go on from there."""
        return []

    def seconds_of_trial(self, plain: Mapping[str, Any]) -> float | None:
        """What a trial would take on this machine, measured in a few seconds without writing anything; None: unknown.

        It is asked before the first trial of a study.
        """
        return None

    def machine_overrides(self, plain: Mapping[str, Any], threads: int | None) -> list[str]:
        """Overrides that the study fixes when it is created, though the command line leaves them to the machine.

        `threads` is how many CPU threads each of the trials that run at once can have.
        """
        return []

    def recording_overrides(self, plain: Mapping[str, Any], folder: Path, trial: Trial) -> list[str]:
        """Overrides that say where a trial of the study in `folder` records itself, and whose it is, and no more."""
        return []

    def on_end(self, folder: Path, console: Console) -> None:
        """Called when nothing is left to run, to say what was found.

        Raises:
            CrashError: it could not be said; the trials are done.
        """
        console.print(f"report: python -m playbook.report study_dir={folder}", soft_wrap=True, highlight=False)
