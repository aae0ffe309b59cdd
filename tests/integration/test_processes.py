"""Trials that start processes of their own, ranks and a loader's workers, within a process of each launcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from integration.study import Study

pytestmark = pytest.mark.integration
SHORT = ("study.n_trials=2", "max_steps=40", "eval_every=20", "data.in_memory=false", "data.num_workers=1")
RANKS = (*SHORT, "trainer=ddp", "trainer.num_devices=2")
LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local",),
    "slurm": ("hydra/launcher=submitit_slurm", "hydra.launcher.partition=trials"),
    "ray": ("hydra/launcher=ray", "hydra.launcher.ray.init.address=local", "+hydra.launcher.ray.init.num_cpus=2"),
}


@pytest.fixture(scope="module")
def in_this_process(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """The tables that every launcher must end with."""
    tables = {}
    for words in (SHORT, RANKS):
        study = Study(tmp_path_factory.mktemp("here"))
        study.run(*words)
        tables[words] = study.table()
    return tables


@pytest.mark.parametrize("words", [SHORT, RANKS], ids=["loader_workers", "ranks"])
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_trial_has_processes_of_its_own(
    launcher: str,
    words: tuple[str, ...],
    in_this_process: dict[tuple[str, ...], str],
    request: pytest.FixtureRequest,
    tmp_path: Path,
):
    environment: Mapping[str, str] = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    if launcher == "ray":
        pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="no Ray: make integration installs it")
    if launcher == "slurm":
        environment = request.getfixturevalue("slurm").environment
    study = Study(tmp_path)
    study.run(*LAUNCHERS[launcher], *words, environment=environment)
    assert study.table() == in_this_process[words]
