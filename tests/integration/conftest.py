"""These tests run only when asked for (`-m integration`): they start daemons and take minutes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from integration.slurm import Cluster, what_is_missing
from integration.study import Study


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "integration: needs a cluster's daemons, and minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "integration" not in config.option.markexpr:
        away = [item for item in items if item.get_closest_marker("integration")]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)


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
