"""What the tests share: a trial run in this process, as the command line would run it."""

from __future__ import annotations

import copy
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hydra_once
import pytest
from command import ROOT, Door, Outcome, files
from hydra._internal.hydra import Hydra
from hypothesis import settings

from playbook.cli import run_cli
from playbook.config import Config
from playbook.trial_config import compose

settings.register_profile("playbook", deadline=None)  # how long an example takes is the machine's business
settings.load_profile("playbook")


LONGEST = ("test_sweep", "test_session", "test_cli", "test_config", "test_faults", "test_fork", "test_compare")
"""The files that take longest: the processes of `make test` begin with them, so that they end together."""
DAEMONS = "integration"
"""The folder whose tests start a cluster's daemons: they follow each other, in one process."""

SMALL = {
    "logger": "none",
    "trainer.device": "cpu",
    "trainer.num_threads": "1",  # the order of summation, and with it the last bits, depend on it
    "max_steps": "10",
    "eval_every": "5",
    "batch_size": "32",
}


def config_of(folder: Path, *overrides: str) -> Config:
    """The checked config of the command line `overrides`, for a trial in `folder`; small unless they say otherwise."""
    given = {word.partition("=")[0] for word in overrides}
    words = [f"{key}={value}" for key, value in SMALL.items() if key not in given]
    composed = _composed(os.environ.get("PLAYBOOK_DATA"), *words, *overrides)
    return replace(copy.deepcopy(composed), output_dir=str(folder))


def _composed(data_root: str | None, *words: str) -> Config:
    """The same words are composed once, unless they name classes or files that a test may have changed."""
    if any("_target_" in word or "/" in word for word in words):
        return compose(*words)
    return _composed_once(data_root, *words)


@cache
def _composed_once(data_root: str | None, *words: str) -> Config:
    return compose(*words)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "integration: of whole processes or a cluster's daemons; run with -m integration"
    )


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
    items.sort(key=lambda item: item.path.parent.name != DAEMONS)
    for item in items:
        alone = item.path.parent.name == DAEMONS
        item.add_marker(pytest.mark.xdist_group(DAEMONS if alone else item.path.stem))
    if "integration" not in config.option.markexpr:
        away = [item for item in items if item.get_closest_marker("integration")]
        items[:] = [item for item in items if item not in away]
        config.hook.pytest_deselected(items=away)


@pytest.fixture(autouse=True, scope="session")
def _hydra_does_things_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        hydra_once.install(patch)
        yield


@pytest.fixture
def trial_config(tmp_path: Path) -> Callable[..., Config]:
    """`trial_config("lr=0.1", folder="other")`: see `config_of`; the folder is one of the test's own."""
    return lambda *overrides, folder="run": config_of(tmp_path / folder, *overrides)


@pytest.fixture
def run_trial(trial_config: Callable[..., Config]) -> Callable[..., object]:
    """As `trial_config`, and trains it; the run that is in the folder then."""
    import playbook
    from playbook.training import train

    def run(*overrides: str, folder: str = "run") -> playbook.Run:
        config = trial_config(*overrides, folder=folder)
        train(config, verbose=False)
        assert config.output_dir is not None
        return playbook.load_run(config.output_dir)

    return run


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Door:
    """`door("lr=0.1", …)`: the outcome of `python train.py lr=0.1 …` in the test's own folder."""
    specification = importlib.util.spec_from_file_location("train", ROOT / "train.py")
    assert specification is not None
    assert specification.loader is not None
    train = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "train", train)
    specification.loader.exec_module(train)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLAYBOOK_DATA", "")
    monkeypatch.delenv("PLAYBOOK_DATA")

    def run(*words: str) -> Outcome:
        before = files(tmp_path)
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        if not any("hydra.mode" in word for word in words):  # to see whether it is there Hydra composes once more
            monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)
        capsys.readouterr()
        with hydra_once.singletons_kept(), pytest.raises(SystemExit) as end:
            run_cli(train.main)
        printed, after = capsys.readouterr(), files(tmp_path)
        changed = [name for name in after if name not in before or before[name] != after[name]]
        code = end.value.code
        assert isinstance(code, int)
        return Outcome(code, printed.out, printed.err, changed)

    return run


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan says at once that it does not know how long a trial takes."""
    from playbook.training_app import TrainingApp

    monkeypatch.setattr(TrainingApp, "seconds_of_trial", lambda *_: None)


@pytest.fixture
def unreported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study ends without its report, which takes a second: for tests of what comes before it."""
    from playbook.training_app import TrainingApp

    monkeypatch.setattr(TrainingApp, "on_end", lambda *_: None)


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the forward pass of the seventh step raise."""
    from playbook.models import MLP

    def patch() -> None:
        forward, count = MLP.forward, iter(range(1000))

        def failing(self, inputs):
            if self.training and next(count) == 6:
                raise RuntimeError("a bug")
            return forward(self, inputs)

        monkeypatch.setattr(MLP, "forward", failing)

    return patch


@pytest.fixture
def script_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], Callable[..., tuple[object, Any]]]:
    """`script_door("registry")("key=value", …)`: the exit code and the output of `python scripts/registry.py …`."""

    def of(name: str) -> Callable[..., tuple[object, Any]]:
        specification = importlib.util.spec_from_file_location(f"{name}_script", ROOT / "scripts" / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        script = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, f"{name}_script", script)
        specification.loader.exec_module(script)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

        def run(*words: str) -> tuple[object, Any]:
            monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
            with hydra_once.singletons_kept(), pytest.raises(SystemExit) as end:
                script.main()
            return end.value.code, capsys.readouterr()

        return run

    return of
