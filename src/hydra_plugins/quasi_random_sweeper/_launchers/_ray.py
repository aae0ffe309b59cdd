"""Jobs as tasks of Ray, on a cluster that is there or on one of this machine's own."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from joblib import cpu_count

from hydra_plugins.quasi_random_sweeper._launchers._job import Job, Parallelism, died
from playbook.errors import InputError, one_line
from playbook.validation import unknown_key

OBJECT_STORE_BYTES = 75 * 2**20
"""What Ray asks for at least; by default it takes a third of the memory, and our jobs hand over a few numbers."""


def parallelism(block: Mapping[str, Any]) -> Parallelism:
    """The workers of a cluster of others are as many as it has.

    Raises:
        InputError: an argument that Ray does not have.
    """
    init, remote = block["ray"]["init"], block["ray"]["remote"]
    _refuse_unknown(init, remote)
    cpus = float(remote.get("num_cpus", 1))
    workers = None
    if _address(init) in (None, "local"):
        workers = max(1, int((init.get("num_cpus") or cpu_count()) / (cpus or 1)))
    return Parallelism(workers, max(1, int(cpus)), elsewhere=workers is None)


def run(jobs: Sequence[Job], block: Mapping[str, Any]) -> list[JobReturn]:
    """How each ended. When this process ends, Ray ends the tasks that are left."""
    import ray

    def end_of(reference: Any) -> JobReturn:
        try:
            end: JobReturn = ray.get(reference)
        except ray.exceptions.RayError as error:
            return died(error)
        return end

    _connect(block["ray"]["init"])
    # Ray would run a trial that is too large for its machine again and again, for ever; a study counts, and says why.
    task = ray.remote(**{"max_retries": 0, **block["ray"]["remote"]})(_run_in)
    references = [task.remote(Path.cwd(), job) for job in jobs]
    return [end_of(reference) for reference in references]


def _refuse_unknown(init: Mapping[str, Any], remote: Mapping[str, Any]) -> None:
    """What Ray would say when the first trial is sent, and the study has begun."""
    try:
        import ray
    except ImportError:  # it says so itself
        return
    known = inspect.signature(ray.init).parameters
    for key in init:
        if key not in known and not key.startswith("_"):  # those are Ray's own, and come with **kwargs
            names = [f"hydra.launcher.ray.init.{name}" for name in known if name != "kwargs"]
            raise InputError(unknown_key(f"hydra.launcher.ray.init.{key}", names))
    if not isinstance(cpus := init.get("num_cpus"), int | float | None):
        raise InputError(f"hydra.launcher.ray.init.num_cpus={cpus}: allowed is a number")
    try:
        ray.remote(**{"max_retries": 0, **remote})(_run_in)  # it looks at the options and starts nothing
    except Exception as error:  # a ValueError, a TypeError or an AssertionError
        raise InputError(f"hydra.launcher.ray.remote={dict(remote)}: {one_line(error)}") from None


def _run_in(folder: Path, job: Job) -> JobReturn:
    os.chdir(folder)  # a worker begins where its cluster was started
    return job()


def _connect(init: Mapping[str, Any]) -> None:
    import ray

    if ray.is_initialized():
        return
    address = _address(init)
    if address != "local":
        try:
            ray.init(**{**init, "address": address or "auto"})
            return
        except ConnectionError:
            if address is not None:
                raise
    ray.init(**{"object_store_memory": OBJECT_STORE_BYTES, **init, "address": "local"})


def _address(init: Mapping[str, Any]) -> str | None:
    """That of the cluster to join; `local` for a new one; None where one may be running on this machine."""
    return init.get("address") or os.environ.get("RAY_ADDRESS") or None
