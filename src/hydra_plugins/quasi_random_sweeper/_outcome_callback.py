"""Runs in the process of each job, wherever that is, and leaves in the trial's folder how the job ended."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import TaskFunction
from omegaconf import DictConfig

from playbook.run_files import PAUSED, RESULT, Result, write_result
from playbook.study.design import Objective
from playbook.study.study_files import record_crash


class Recorder(Callback):
    """An exception becomes `crash_<n>.txt`; the number that an app returns becomes `result.json` where it wrote none.

    Hydra hands it to the workers with its context, so what it says does not depend on the launcher coming back.
    `claimed_devices` is the number of GPUs that each worker takes for itself, of those that all of them see.
    """

    def __init__(self, objective: Objective, claimed_devices: int) -> None:
        self._objective = objective
        self._claimed_devices = claimed_devices
        self._began = 0.0

    def on_job_start(self, config: DictConfig, *, task_function: TaskFunction, **kwargs: Any) -> None:
        """Where trials that run at once see the same devices, each takes as many as it trains on."""
        self._began = time.monotonic()
        if self._claimed_devices:
            from hydra_plugins.quasi_random_sweeper._launchers._devices import claim_device

            claim_device(self._claimed_devices)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Record what became of it, if the job has not."""
        own = Path(config.hydra.runtime.output_dir)
        returned = job_return._return_value
        if job_return.status == JobStatus.FAILED:
            record_crash(own, returned if isinstance(returned, BaseException) else str(returned))
        elif not (own / RESULT).exists() and not (own / PAUSED).exists():
            number = _number(returned)
            if number is None:
                record_crash(own, f"TypeError: the job returned {returned!r}; a number is needed, its objective")
            else:
                write_result(own, self._result(number, config))

    def _result(self, objective: float, config: DictConfig) -> Result:
        finite = math.isfinite(objective)
        seed = config.get("seed", 0)
        return Result(
            status="complete" if finite else "infeasible",
            objective=objective if finite else None,
            best_step=0 if finite else None,
            final_objective=objective if finite else None,
            steps=0,
            seconds=time.monotonic() - self._began,
            metrics={},
            seed=seed if isinstance(seed, int) else 0,
            objective_metric=self._objective.metric,
            objective_mode=self._objective.mode,
            reason=None if finite else "diverged",
            reason_message=None if finite else f"the job returned {objective}",
        )


def _number(returned: Any) -> float | None:
    try:
        return None if isinstance(returned, (bool, str)) else float(returned)
    except (TypeError, ValueError):
        return None
