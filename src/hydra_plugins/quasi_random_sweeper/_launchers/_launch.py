"""Runs trials where Hydra's launchers would, so that the death of one is nobody else's: a launcher a file.

As they come, the launchers lose everything to the first trial whose process dies: joblib kills the other workers,
submitit and Ray raise while the other jobs run on unseen. So of a launcher that is known here we take the config, and
hand the jobs to its library ourselves. Any other one runs them as it does.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from hydra_plugins.quasi_random_sweeper._launchers import _joblib, _ray, _submitit
from hydra_plugins.quasi_random_sweeper._launchers._job import Job, Parallelism
from playbook.errors import InputError
from playbook.validation import show, unknown_key

__all__ = ["Parallelism", "launch", "parallelism"]

_LAUNCHERS: Mapping[str, Any] = {
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher": _joblib,
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher": _submitit,
    "hydra_plugins.hydra_ray_launcher.ray_launcher": _ray,
}
"""By the module of Hydra's: `parallelism(block)` and `run(jobs, block)`, where `block` is `hydra.launcher`."""


def launch(
    launcher: Any, job_overrides: Sequence[Sequence[str]], initial_job_idx: int, devices: int = 1
) -> list[JobReturn]:
    """Run the jobs with these overrides to their ends, of which each has one: `FAILED` where its process died.

    A job takes so many `devices`, where there are any.

    The exception of a job that failed, or what is known of its death, is in `_return_value`.

    Raises:
        KeyboardInterrupt, SystemExit: somebody wants it to end. No job is left running.
    """
    ours = _LAUNCHERS.get(type(launcher).__module__)
    if ours is None:  # in this process, where a trial sees to signals itself; or a launcher that we do not know
        return list(launcher.launch(job_overrides, initial_job_idx=initial_job_idx))
    jobs = [
        Job(
            launcher.hydra_context,
            launcher.config,
            launcher.task_function,
            Singleton.get_state(),
            number,
            tuple(words),
            devices,
        )
        for number, words in enumerate(job_overrides, start=initial_job_idx)
    ]
    with _sigterm_as_exit():
        ends: list[JobReturn] = ours.run(jobs, _plain(launcher.config.hydra.launcher))
        return ends


def parallelism(launcher: Any) -> Parallelism:
    """What the block `hydra.launcher` of a config says of it.

    Raises:
        InputError: it is no launcher's, or has every trial run several times.
    """
    target = str(OmegaConf.select(launcher, "_target_")) if OmegaConf.is_config(launcher) else show(launcher)
    if target not in {f"{plugin.__module__}.{plugin.__name__}" for plugin in Plugins.instance().discover(Launcher)}:
        raise InputError(f"hydra.launcher={target}: no launcher; choose one by name: hydra/launcher=joblib")
    block, kind = _plain(launcher), OmegaConf.get_type(launcher)
    known = [field.name for field in fields(kind)] if is_dataclass(kind) else list(block)
    for key in block:
        if key not in known:
            raise InputError(unknown_key(f"hydra.launcher.{key}", [f"hydra.launcher.{name}" for name in known]))
    ours = _LAUNCHERS.get(target.rpartition(".")[0])
    if ours is None:  # Hydra's own runs one trial after the other; what another one does, it alone knows
        return Parallelism() if target.startswith("hydra._internal.") else Parallelism(None, elsewhere=True)
    spread: Parallelism = ours.parallelism(block)
    return spread


def _plain(block: Any) -> dict[str, Any]:
    plain = OmegaConf.to_container(block, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """A process that waits for others must not vanish without a word to them."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
