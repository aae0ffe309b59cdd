"""Daemons of a cluster, started for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.slurm import Cluster, what_is_missing
from integration.study import Study


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study in one process: every launcher must end with the same."""
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    study.run()
    return study


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm of one node with two CPUs."""
    if reason := what_is_missing():
        pytest.skip(reason)
    with Cluster.started(lambda: tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster
