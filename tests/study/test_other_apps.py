"""Studies of Hydra apps that know nothing of this template."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import polars as pl
import pytest
import warm
from command import python

APP = """
import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path=None, config_name="app")
def main(cfg: DictConfig) -> float:
    if cfg.x == cfg.exit_at:
        sys.exit(3)
    if cfg.x > 0.9:
        return float("nan")
    return (cfg.x - 0.3) ** 2 + len(cfg.kind) + 1 / cfg.max_steps


if __name__ == "__main__":
    config = {"x": 0.0, "exit_at": None, "kind": "a", "max_steps": 10, "task": "reach", "seed": 0}
    if OWN_KEYS:  # which mean something else than ours
        config |= {"study": "a text", "objective": "binary:logistic"}
    ConfigStore.instance().store(name="app", node=config)
    main()
"""
SWEEP = ("-m", "hydra/sweeper=quasi_random")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of an app whose config has a `study` and an `objective` of its own."""
    (tmp_path / "app.py").write_text(APP.replace("OWN_KEYS", "True"))
    return tmp_path


@pytest.mark.parametrize("own_keys", [False, True])
def test_the_number_that_a_job_returns_is_its_objective_and_the_study_goes_on(app: Path, own_keys: bool) -> None:
    (app / "app.py").write_text(APP.replace("OWN_KEYS", str(own_keys)))
    words = (*SWEEP, "x=interval(0,1)", "kind=a,bb", "hydra.sweeper.study.name=f", "hydra.sweep.dir=elsewhere")
    for n_trials in (4, 8):
        done = warm.run("app.py", *words, f"hydra.sweeper.study.n_trials={n_trials}", folder=app)
        assert done.returncode == 0, done.stderr
        table = pl.read_csv(app / "studies" / "f" / "trials.csv")
        assert len(table) == n_trials
    for row in table.rows(named=True):
        if row["status"] == "complete":
            assert row["objective"] == pytest.approx((row["x"] - 0.3) ** 2 + len(row["kind"]) + 0.1, rel=1e-9)
        else:
            assert row["x"] > 0.9
    assert "hydra.sweep.dir=elsewhere: not used" in done.stderr
    assert not (app / "elsewhere").exists()


def test_what_the_playbook_forbids_to_trials_of_ours_is_other_apps_own_business(app: Path) -> None:
    words = (*SWEEP, "max_steps=10,20", "task=reach,push", "seed=interval(0,9)", "hydra.sweeper.study.n_trials=4")
    roles = "++hydra.sweeper.study.roles.task=scientific"
    done = warm.run("app.py", *words, roles, folder=app)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 trials done" in done.stdout
    assert "at step" not in done.stdout
    assert "lr" not in done.stdout.split()  # of which this app has none


def test_a_job_that_exits_ends_its_own_trial(app: Path) -> None:
    words = (*SWEEP, "x=0.1,0.2,0.3", "exit_at=0.1", "hydra.sweeper.study={name: e, retries: 0}")
    done = warm.run("app.py", *words, folder=app)
    assert done.returncode == 1
    table = pl.read_csv(app / "studies" / "e" / "trials.csv")
    assert dict(zip(table["x"], table["status"], strict=True)) == {0.1: "crashed", 0.2: "complete", 0.3: "complete"}
    assert "sys.exit(3)" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: studies/e: 1 of 3 trials crashed")


def test_what_is_wrong_is_one_line_with_the_keys_of_this_app(app: Path) -> None:
    done = warm.run("app.py", *SWEEP, "x=0.1,0.2", "hydra.sweeper.study.n_trials=3", folder=app)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: hydra.sweeper.study.n_trials=3: the space has 2 different trials")
    assert sorted(path.name for path in app.iterdir()) == ["app.py"]


@pytest.mark.integration
def test_the_commands_of_its_report_can_be_run(app: Path) -> None:
    words = (*SWEEP, "x=interval(0,0.2)", "kind=a,b", "++hydra.sweeper.study.roles.kind=scientific")
    done = warm.run("app.py", *words, "hydra.sweeper.study={name: r, n_trials: 4, goal: which kind?}", folder=app)
    assert done.returncode == 0, done.stderr
    (command,) = (line.partition("python ")[2] for line in done.stdout.splitlines() if line.startswith("report: "))
    reported = python(*shlex.split(command), folder=app)
    assert reported.returncode == 0, reported.stderr
    findings = json.loads((app / "studies" / "r" / "report" / "findings.json").read_text())
    commands = {command for finding in findings for command in finding["next"] if " -m " in command}
    assert commands
    for command in sorted(commands):
        _, *again = shlex.split(command)
        planned = warm.run(*again, "++hydra.sweeper.study.dry_run=true", folder=app)
        assert planned.returncode == 0, f"{command}: {planned.stderr}"
        assert "which kind?" in planned.stdout
