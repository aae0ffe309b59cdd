"""Weights & Biases shows what the files say, never asks, never waits long, and never mixes trials up."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb
from conftest import config_of
from wandb_file import OfflineRun, read_wandb_file

import playbook
from playbook.config import Config
from playbook.loggers.base import GuardedLogger, RunLogger
from playbook.training import loop, resume, train

OF_A_CLASS = re.compile(r"val/(correct|examples)/\d")
TRIAL = ("logger=wandb", "model.width=8", "max_steps=60", "eval_every=25", "clip_norm=1.5", "lr=0.1")


class NoQuestions:
    """A standard input that nobody may ask, on what says that it is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("no descriptor")

    def readline(self, *_: int) -> str:
        raise AssertionError("somebody asked a question")

    read = readline


@pytest.fixture(autouse=True, scope="module")
def no_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.MonkeyPatch]:
    """No key in the environment or in the home of whoever runs the tests, and nothing left running afterwards."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("HOME", "NETRC", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(home if name != "NETRC" else home / "netrc"))
        patch.setattr(sys, "stdin", NoQuestions())
        wandb.teardown()  # what another test had it read from its environment
        yield patch
        wandb.teardown()


def read_offline_runs(folder: Path) -> list[OfflineRun]:
    """All offline runs in the folder of a trial, once W&B's service, a process of its own, has written them."""
    wandb.teardown()
    return [read_wandb_file(path) for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> playbook.Run:
    folder = tmp_path_factory.mktemp("trial") / "run"
    config = config_of(folder, *TRIAL, "logger.tags=[a,b]", "seed=4", "logger.project=mine")
    train(config, verbose=False)
    return playbook.load_run(folder)


@pytest.fixture(scope="module")
def mirrored(run: playbook.Run) -> OfflineRun:
    (found,) = read_offline_runs(run.path)
    return found


def test_the_run_says_what_it_is(run, mirrored):
    assert mirrored.run.project == "mine"
    assert mirrored.run.display_name == "run"
    assert list(mirrored.run.tags)[:2] == ["a", "b"]
    assert {"model=mlp", "optimizer=nesterov", "data=digits"} <= {*mirrored.run.tags}
    assert mirrored.run.job_type == "trial"
    assert mirrored.run.run_id == json.loads((run.path / "wandb.json").read_text())["id"]
    assert mirrored.exit_code == 0


def test_the_config_is_there_as_plain_nested_values(run, mirrored):
    recorded = {key: value for key, value in mirrored.config.items() if key != "_wandb"}
    assert recorded.pop("options")["optimizer"] == "nesterov"
    assert recorded.pop("study") == {}
    assert recorded["optimizer"].pop("one_minus_momentum") == pytest.approx(0.1)
    assert recorded == json.loads(json.dumps(run.config.plain()))
    assert recorded["model"]["width"] == 8
    assert recorded["lr"] == 0.1
    assert recorded["trainer"]["num_threads"] == 1


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("train/loss", "loss"),
        *((name, name) for name in ("grad_norm", "lr", "clipped", "data_seconds", "step_seconds")),
    ],
)
def test_every_step_is_there(run, mirrored, name, column):
    series = mirrored.series(name)
    assert list(series) == list(range(60))
    # A float32 has more digits as JSON than in the table, and a table's seconds are rounded to microseconds.
    expected = run.steps[column].to_numpy()
    np.testing.assert_allclose(list(series.values()), expected, rtol=1e-6, atol=1e-6)


def test_every_evaluation_is_there_at_its_step(run, mirrored):
    assert list(mirrored.series("val/error")) == [0, 25, 50, 60]
    metrics = [metric for metric in run.evals["metric"].unique() if not OF_A_CLASS.match(metric)]
    assert 5 <= len(metrics) < run.evals["metric"].n_unique() - 15
    for metric in metrics:
        rows = run.evals.filter(metric=metric)
        expected = dict(rows.select("step", "value").iter_rows())
        assert mirrored.series(metric) == expected  # to the last digit


def test_nothing_is_there_that_the_files_do_not_have(run, mirrored):
    names = {name for row in mirrored.history for name in row if not name.startswith("_")}
    media = ("grad_norm_histogram/", "predictions/", "classes/")
    steps = {"train/loss", "grad_norm", "lr", "clipped", "data_seconds", "step_seconds"}
    assert {name for name in names if not name.startswith(media)} - steps == {
        "trainer/global_step",
        *(metric for metric in run.evals["metric"] if not OF_A_CLASS.match(metric)),
    }


def test_the_gradient_norms_have_histograms(run, mirrored):
    counts, bins = mirrored.series("grad_norm_histogram/values"), mirrored.series("grad_norm_histogram/bins")
    assert set(mirrored.series("grad_norm_histogram/_type").values()) == {"histogram"}
    norms, seen = run.steps["grad_norm"].to_numpy(), 0
    for step in counts:
        part = norms[seen : step + 1]
        assert sum(counts[step]) == len(part)
        assert [bins[step][0], bins[step][-1]] == pytest.approx([part.min(), part.max()], rel=1e-6)
        below = sum(count for count, right in zip(counts[step], bins[step][1:], strict=True) if right <= bins[step][16])
        assert below == pytest.approx(np.sum(part < bins[step][16]), abs=1)  # a norm on the edge may be on either side
        seen = step + 1
    assert seen == len(norms)


def test_the_predictions_are_a_table(run, mirrored):
    ((step, path),) = mirrored.series("predictions/path").items()
    (table,) = run.path.glob(f"wandb/offline-run-*/files/{path}")
    content = json.loads(table.read_text())
    last = run.predictions.filter(step=step)
    assert step == 60
    assert content["columns"] == run.predictions.columns
    assert [tuple(row[:4]) for row in content["data"]] == last.select(content["columns"][:4]).rows()
    assert [row[4] for row in content["data"]] == pytest.approx(last["score"].to_list(), rel=1e-6)


def test_the_classes_are_a_table(run, mirrored):
    ((step, path),) = mirrored.series("classes/path").items()
    (table,) = run.path.glob(f"wandb/offline-run-*/files/{path}")
    content = json.loads(table.read_text())
    assert content["columns"] == ["step", "split", "class", "examples", "correct"]
    steps = {run.result.best_step, 60}
    assert step == 60
    assert {row[0] for row in content["data"]} == steps
    assert len(content["data"]) == 10 * len(steps)
    for at, split, name, examples, correct in content["data"]:
        of_class = run.evals.filter(metric=f"{split}/correct/{name}", step=at)
        assert correct == of_class["value"].item()
        assert examples == run.evals.filter(metric=f"{split}/examples/{name}")["value"].item()
    at_best = [row for row in content["data"] if row[0] == run.result.best_step]
    missed = 1 - sum(row[4] for row in at_best) / sum(row[3] for row in at_best)
    assert missed == pytest.approx(run.result.objective)


def test_the_summary_is_the_result(run, mirrored):
    result = json.loads((run.path / "result.json").read_text())
    names = ("objective", "objective_se", "n_examples", "best_step", "final_objective", "chance", "above_chance")
    for name in (*names, "status", "steps", "seconds"):
        assert mirrored.summary[name] == result[name]


def test_charts_are_drawn_against_the_step_of_the_files(mirrored):
    assert mirrored.metrics["*"].step_metric == "trainer/global_step"
    assert mirrored.metrics["val/error"].step_metric == "trainer/global_step"
    assert mirrored.metrics["val/error"].summary.min


def config_in(folder: Path, *overrides: str) -> Config:
    return config_of(folder, "logger=wandb", "model.width=8", *overrides)


def test_two_trials_in_one_process_do_not_mix(tmp_path):
    mirrors = []
    for seed in (0, 1):
        train(config_in(tmp_path / str(seed), f"seed={seed}"), verbose=False)
    for seed in (0, 1):
        (mirror,) = read_offline_runs(tmp_path / str(seed))
        run = playbook.load_run(tmp_path / str(seed))
        assert list(mirror.series("train/loss").values()) == pytest.approx(run.steps["loss"].to_list(), rel=1e-6)
        assert mirror.config["seed"] == seed
        assert mirror.exit_code == 0
        mirrors.append(mirror)
    assert mirrors[0].run.run_id != mirrors[1].run.run_id


def test_a_crashed_trial_is_a_failed_run(tmp_path, breaking):
    breaking()
    with pytest.raises(RuntimeError, match="a bug"):
        train(config_in(tmp_path / "run"), verbose=False)
    (mirror,) = read_offline_runs(tmp_path / "run")
    assert mirror.exit_code == 1
    assert "objective" not in mirror.summary
    assert list(mirror.series("train/loss")) == list(range(5))  # up to the last commit


def test_a_diverged_trial_is_a_finished_run_that_says_so(tmp_path):
    train(config_in(tmp_path / "run", "lr=1e38", "max_steps=100"), verbose=False)
    (mirror,) = read_offline_runs(tmp_path / "run")
    run = playbook.load_run(tmp_path / "run")
    assert mirror.exit_code == 0
    assert (mirror.summary["status"], mirror.summary["reason"]) == ("infeasible", "diverged")
    assert list(mirror.series("train/loss")) == run.steps["step"].to_list()


def test_a_resumed_trial_goes_on_in_its_run(tmp_path, breaking, monkeypatch):
    with monkeypatch.context():
        breaking()
        with pytest.raises(RuntimeError, match="a bug"):
            train(config_in(tmp_path / "run"), verbose=False)
    monkeypatch.undo()
    train(config_in(tmp_path / "run"), verbose=False)
    first, second = sorted(read_offline_runs(tmp_path / "run"), key=lambda mirror: mirror.exit_code == 0)
    assert first.run.run_id == second.run.run_id
    steps = sorted({*first.series("train/loss"), *second.series("train/loss")})
    assert steps == list(range(10))


@pytest.mark.parametrize(("owner", "name"), [(loop.result, "complete"), (resume, "write_result")])
def test_a_trial_that_was_killed_before_its_result_shows_its_predictions(tmp_path, monkeypatch, owner, name):
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, kill)
        with pytest.raises(Killed):
            train(config_in(tmp_path / "run"), verbose=False)
    train(config_in(tmp_path / "run"), verbose=False)
    mirrors = [mirror for mirror in read_offline_runs(tmp_path / "run") if mirror.exit_code == 0]
    assert mirrors
    for mirror in mirrors:
        assert mirror.summary["status"] == "complete"
        ((step, path),) = mirror.series("predictions/path").items()
        tables = [json.loads(table.read_text()) for table in tmp_path.glob(f"run/wandb/offline-run-*/files/{path}")]
        assert step == 10
        assert {len(table["data"]) for table in tables} == {64}


def test_a_finished_trial_that_is_asked_for_again_makes_no_run(tmp_path):
    for _ in range(2):
        train(config_in(tmp_path / "run"), verbose=False)
    assert len(read_offline_runs(tmp_path / "run")) == 1


def test_a_server_that_cannot_be_reached_means_offline(tmp_path, monkeypatch, capfd):
    # The discard port of this machine: nothing listens. It takes the ten seconds that the mirror waits.
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()
    train(config_in(tmp_path / "run"), verbose=False)
    wandb.teardown()
    (mirror,) = read_offline_runs(tmp_path / "run")
    run = playbook.load_run(tmp_path / "run")
    assert run.result.status == "complete"
    assert list(mirror.series("train/loss")) == run.steps["step"].to_list()
    assert list(mirror.series("val/error")) == [0, 5, 10]
    assert mirror.exit_code == 0
    assert [path.name for path in (run.path / "wandb").iterdir() if path.name.startswith("run-")] == []
    assert "recording offline" in capfd.readouterr().err


def test_a_run_that_was_finished_but_for_its_result_is_finished_with_one(trial_config):
    config = trial_config("logger=wandb", "max_steps=10")
    result = train(config, verbose=False)
    (Path(config.output_dir) / "result.json").unlink()  # killed between the last commit and the result
    assert train(config, verbose=False).objective == result.objective


def test_trouble_with_the_mirror_is_not_the_trials(capsys):
    class Breaks(RunLogger):
        asked = 0

        def log_steps(self, rows):
            Breaks.asked += 1
            raise ConnectionResetError("Connection lost")

    shielded = GuardedLogger(Breaks())
    for _ in range(3):
        shielded.log_steps(None)
    shielded.close(None)
    assert Breaks.asked == 1
    assert capsys.readouterr().err == (
        "warning: Breaks shows nothing more of this run (Connection lost); the files are complete\n"
    )


def test_a_key_of_the_wrong_form_means_offline(trial_config, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = trial_config("logger=wandb")
    assert train(config, verbose=False).status == "complete"
    assert list(Path(config.output_dir).glob("wandb/offline-run-*"))
