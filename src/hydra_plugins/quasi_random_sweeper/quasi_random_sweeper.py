"""What Hydra imports at the start of every app: the plugin's class and its config, and nothing that takes time.

Without `from __future__ import annotations`: Hydra executes this file before it is in `sys.modules`, where a dataclass
would look its annotations up.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from hydra_plugins.quasi_random_sweeper._core import StudySweep


@dataclass
class QuasiRandomSweeperConf:
    """`hydra/sweeper=quasi_random`: by default what the app's own config says of its study, if anything."""

    _target_: str = "hydra_plugins.quasi_random_sweeper.quasi_random_sweeper.QuasiRandomSweeper"
    # The keys are those of playbook.study.config.StudyConfig, all with a default.
    study: Any = "${oc.select:study,{}}"
    # Each study has a folder of its name in here; Hydra's sweep.dir is set to it.
    studies_dir: str = "${oc.select:output_root,.}/studies"
    # What the job returns, where the app does not write a result of its own.
    objective: Any = "${oc.select:objective,{metric:objective,mode:min}}"


ConfigStore.instance().store(
    group="hydra/sweeper", name="quasi_random", node=QuasiRandomSweeperConf, provider="quasi_random_sweeper"
)


class QuasiRandomSweeper(Sweeper):
    """Designs a study from the sweep's words, and runs what is missing of it through any of Hydra's launchers."""

    def __init__(self, study: Any, studies_dir: str, objective: Any) -> None:
        self._study = study
        self._studies_dir = studies_dir
        self._objective = objective
        self._sweep: StudySweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        from hydra_plugins.quasi_random_sweeper._core import StudySweep

        self._sweep = StudySweep(
            hydra_context=hydra_context,
            task_function=task_function,
            config=config,
            study=self._study,
            studies_dir=self._studies_dir,
            objective=self._objective,
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the study; the best objective, None where there is none."""
        assert self._sweep is not None, "Hydra calls setup first"
        return self._sweep.run(arguments)
