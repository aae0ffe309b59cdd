"""One job of a sweep, as any process can run it, and how it ended where its process cannot say it any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


@dataclass(frozen=True)
class Job:
    """Runs the task function as Hydra's launchers do: the config is composed where the job runs."""

    hydra_context: HydraContext
    config: DictConfig
    task_function: TaskFunction
    singletons: Mapping[Any, Any]
    """`Singleton.get_state()` of the process of the sweep."""
    number: int
    overrides: tuple[str, ...]
    devices: int = 1
    """How many it takes, where there are any."""

    def __call__(self, job_id: str | None = None) -> JobReturn:
        setup_globals()
        Singleton.set_state(dict(self.singletons))
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(self.overrides))
        with open_dict(config):
            config.hydra.job.id = job_id or f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


@dataclass(frozen=True)
class Parallelism:
    """How a launcher spreads trials.

    `workers` is the number of trials that run at a time, `cpus_per_trial` what each then has for itself; None where
    nobody can say. Trials with `shared_devices` all see every GPU of one machine, which are `num_devices` where that is
    what bounds the workers. `elsewhere`: on other machines.
    """

    workers: int | None = 1
    cpus_per_trial: int | None = None
    shared_devices: bool = False
    elsewhere: bool = False
    num_devices: int | None = None

    def of_trials(self, devices: int) -> Parallelism:
        """The same for trials that take so many devices each."""
        if self.num_devices is None or self.workers is None or not devices:
            return self
        return replace(self, workers=max(1, min(self.workers, self.num_devices // devices)))


def died(error: BaseException) -> JobReturn:
    """The end of a job whose process was killed, or could not be begun; `error` is what the launcher knows of it."""
    return JobReturn(status=JobStatus.FAILED, _return_value=error)
