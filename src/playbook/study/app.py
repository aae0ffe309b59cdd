"""What a study has to know of the program whose trials it runs.

`App` knows nothing of it and serves any Hydra app that returns its objective. A program overrides what it can say
more about, and names its class in `study.app`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from playbook.config import flatten


class App:
    """Any Hydra app."""

    study_key: str | None = None
    """The top-level key of the config that describes the study and is not for its trials."""

    def composed(self, cfg: DictConfig) -> dict[str, Any]:
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

    def identity(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """The flat settings that decide what a trial computes: a study in which they have changed is another one."""
        return dict(flatten(plain))

    def title(self, cfg: DictConfig, varied: Sequence[str]) -> str:
        """Where a study has no name, what its name begins with; `varied` are the keys that its trials differ in."""
        return str(cfg.hydra.job.name)

    def settled(self, plain: Mapping[str, Any], threads: int | None) -> list[str]:
        """Overrides that the study fixes when it is created, though the command line leaves them to the machine.

        `threads` is how many CPU threads each of the trials that run at once can have.
        """
        return []

    def num_devices(self, plain: Mapping[str, Any]) -> int:
        """How many GPUs a trial takes where there are any; 0: none."""
        return 1

    def placed(self, plain: Mapping[str, Any], folder: Path) -> list[str]:
        """Overrides that say where the trials of this study record themselves, and no more."""
        return []

    def finish(self, folder: Path) -> Sequence[str]:
        """Called when nothing is left to run; the lines that it returns are printed."""
        return []
