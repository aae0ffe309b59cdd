"""A study on Ray: on a cluster of its own, with a worker killed; and on one that is there already."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from integration.slurm import free_ports
from integration.study import N_TRIALS, Study, assert_same, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        find_spec("ray") is None or find_spec("hydra_plugins.hydra_ray_launcher") is None,
        reason="no Ray: make integration installs it",
    ),
]
WORDS = ("hydra/launcher=ray",)
OWN = ("hydra.launcher.ray.init.address=local", "+hydra.launcher.ray.init.num_cpus=2")


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """With a folder for Ray's files, whose sockets want a short name, and where it looks for running clusters."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        yield {"RAY_TMPDIR": folder, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}


def test_a_killed_worker_is_the_end_of_its_own_trial(environment: dict[str, str], undisturbed: Study, tmp_path):
    """Which goes on when it is run again."""
    study = Study(tmp_path)
    with study.running(*WORDS, *OWN, environment=environment):
        study.in_the_middle(1)
        os.kill(study.process(1), signal.SIGKILL)
        killed = study.committed(1)
    assert_same(study, undisturbed)
    assert study.went_on_from(killed, 1)
    assert [study.crashes(number) for number in range(N_TRIALS)] == [0, 1, 0]


@pytest.fixture
def cluster(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a cluster that was started from another folder."""
    ray = Path(sys.executable).with_name("ray")
    (port,) = free_ports(1)
    settings = os.environ | environment
    words = ("start", "--head", f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--block")
    with subprocess.Popen([ray, *words], cwd=tmp_path, env=settings, stdout=subprocess.DEVNULL) as head:
        try:
            wait_until(lambda: head.poll() is not None or _answers(port))
            yield environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
        finally:
            head.terminate()


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_a_study_joins_a_cluster(cluster: dict[str, str], undisturbed: Study, tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("joined"))
    study.run(*WORDS, environment=cluster)
    assert_same(study, undisturbed)
