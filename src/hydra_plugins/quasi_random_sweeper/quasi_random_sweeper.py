"""What Hydra imports at the start of every app: the plugin's class and its config, and nothing that takes time.

Without `from __future__ import annotations`: Hydra executes this file before it is in `sys.modules`, where a dataclass
would look its annotations up.
"""

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.quasi_random_sweeper._core import StudySweep


@dataclass
class StudyKeys:
    """The keys of `playbook.study.config.StudyConfig`; null: as the app's own top-level `study` says, or its default.

    One that holds keys of its own is set as `++hydra.sweeper.study.roles.<key>=scientific`.
    """

    name: Any = None
    goal: Any = None
    n_trials: Any = None
    budget_hours: Any = None
    rungs: Any = None
    promote: Any = None
    seed: Any = None
    scientific: Any = None
    cases: Any = None
    nuisance: Any = None
    conditional: Any = None
    repeat: Any = None
    trials: Any = None
    roles: Any = None
    follows: Any = None
    start: Any = None
    parallel: Any = None
    storage: Any = None
    dry_run: Any = None
    retries: Any = None
    reuse: Any = None
    app: Any = None


@dataclass
class QuasiRandomSweeperConf:
    """`hydra/sweeper=quasi_random`: a study, where the app's own config does not describe it."""

    _target_: str = "hydra_plugins.quasi_random_sweeper.quasi_random_sweeper.QuasiRandomSweeper"
    study: StudyKeys = field(default_factory=StudyKeys)
    # Each study has a folder of its name in here; Hydra's sweep.dir is set to it.
    studies_dir: str = "${oc.select:output_root,.}/studies"
    # What the job returns, {metric: <name>, mode: min|max}. null: the app's own `objective` if it is of that form, else
    # a number named objective, of which less is better.
    objective: Optional[Any] = None  # noqa: UP045


ConfigStore.instance().store(
    group="hydra/sweeper", name="quasi_random", node=QuasiRandomSweeperConf, provider="quasi_random_sweeper"
)


class QuasiRandomSweeper(Sweeper):
    """Designs a study from the sweep's words, and runs what is missing of it through any of Hydra's launchers."""

    def __init__(self, study: Any, studies_dir: str, objective: Any) -> None:
        self._given = {"study": study, "studies_dir": studies_dir, "objective": objective}
        self._setup: dict[str, Any] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self._setup = {"hydra_context": hydra_context, "task_function": task_function, "config": config}

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study; the best objective, None where there is none.

        What is wrong is said in a line, without Hydra's traceback, unless HYDRA_FULL_ERROR=1 asks for that.
        """
        from playbook.errors import CrashError, InputError

        try:
            return self._study_sweep().run(arguments)
        except (InputError, CrashError) as error:
            if os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0"):  # as `playbook.cli` has it, which says it then
                raise
            print("".join(f"error: {line}\n" for line in str(error).splitlines()), end="", file=sys.stderr)
            sys.exit(error.exit_code)

    def run_from_python(self, arguments: list[str], **invocation: Any) -> Any:
        """As `sweep`, where no shell has called: `invocation` has the fields of `Invocation`; the study's folder."""
        from hydra_plugins.quasi_random_sweeper._core import Invocation

        sweep = self._study_sweep()
        sweep.run(arguments, Invocation(**invocation))
        return sweep.folder

    def _study_sweep(self) -> "StudySweep":
        from hydra_plugins.quasi_random_sweeper._core import StudySweep

        return StudySweep(**self._setup, **self._given)
