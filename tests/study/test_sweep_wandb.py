"""A study in Weights & Biases: a run a trial, all in one group and one folder, and one look at the server for all."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from command import Door
from wandb_file import OfflineRun, read_wandb_file
from wandb_server import serve

import playbook
from playbook import training_app
from playbook.loggers import wandb as wandb_logger
from playbook.report.wandb_address import wandb_address
from playbook.study.load import load_record

LRS = "lr=0.01,0.1"
SHORT = ("model.width=8", "max_steps=10", "eval_every=5", "trainer.num_threads=1", "trainer.device=cpu")
WORDS = ("-m", "study.name=s", "logger=wandb", *SHORT)
NOBODY_LISTENS = "http://127.0.0.1:9"  # the discard port of this machine
KEY = "a" * 40


@pytest.fixture(autouse=True)
def no_account(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No key and nothing found out; the report has tests of its own and takes seconds."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: PTH123, SIM115
    monkeypatch.setattr(wandb_logger, "_lost", False)
    monkeypatch.setattr(training_app.TrainingApp, "on_end", lambda *_: None)
    wandb_logger._ask.cache_clear()
    wandb.teardown()
    yield
    wandb.teardown()
    wandb_logger._ask.cache_clear()


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return tmp_path / "outputs" / "studies"


def trials(study: Path) -> dict[str, playbook.Run]:
    return {path.name: playbook.load_run(path) for path in sorted(study.glob("trial_*"))}


def offline_runs(study: Path) -> list[OfflineRun]:
    """Those in W&B's folder of a study, once its service, a process of its own, has written them."""
    wandb.teardown()
    assert list(study.glob("trial_*/wandb")) == []
    return [read_wandb_file(path) for path in study.glob("wandb/offline-run-*/run-*.wandb")]


def about_wandb(err: str) -> list[str]:
    return [line for line in err.splitlines() if "wandb" in line.lower() or "W&B" in line]


@contextmanager
def never_answers() -> Iterator[SimpleNamespace]:
    """A server that takes connections and says nothing; `connections()` is how many there were."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        taken: list[socket.socket] = []

        def connections() -> int:
            try:
                while True:
                    taken.append(listener.accept()[0])
            except BlockingIOError:
                return len(taken)

        yield SimpleNamespace(url=f"http://127.0.0.1:{listener.getsockname()[1]}", connections=connections)
        for each in taken:
            each.close()


def test_every_trial_is_a_run_of_the_studys_group(door: Door, studies: Path) -> None:
    sweep = door(*WORDS, "lr=0.01,0.1,1e38")
    assert sweep.code == 0
    assert about_wandb(sweep.err) == []
    ended, mirrored = trials(studies / "s"), offline_runs(studies / "s")
    assert sorted(mirror.run.display_name for mirror in mirrored) == list(ended)
    for mirror in mirrored:
        run = ended[mirror.run.display_name]
        assert mirror.run.run_group == "s"
        assert mirror.run.run_id == json.loads((run.path / "wandb.json").read_text())["id"]
        recorded = {key: value for key, value in mirror.config.items() if key != "_wandb"}
        number = int(mirror.run.display_name.removeprefix("trial_"))
        assert recorded.pop("study") == {"name": "s", "arm": "all", "trial": number}
        assert recorded.pop("options")["model"] == "mlp"
        assert recorded["optimizer"].pop("one_minus_momentum") == pytest.approx(0.1)
        assert recorded == json.loads(json.dumps(run.config.plain()))
        assert list(mirror.series("train/loss")) == run.steps["step"].to_list()
        errors = run.evals.filter(metric="val/error")
        assert mirror.series("val/error") == dict(errors.select("step", "value").iter_rows())
        assert (mirror.exit_code, mirror.summary["status"]) == (0, run.result.status)
    assert sorted(mirror.summary["status"] for mirror in mirrored) == ["complete", "complete", "infeasible"]
    assert len({mirror.run.run_id for mirror in mirrored}) == 3
    assert wandb_address(load_record(studies / "s")) == "offline; wandb sync outputs/studies/s/wandb/offline-run-*"


def test_finished_trials_are_not_mirrored_twice(door: Door, studies: Path) -> None:
    sampled = (*WORDS, "lr=tag(log,interval(1e-3,1e-1))")
    assert door(*sampled, "study.n_trials=2").code == 0
    first = {mirror.run.run_id for mirror in offline_runs(studies / "s")}
    assert door(*sampled, "study.n_trials=3").code == 0
    names = {mirror.run.run_id: mirror.run.display_name for mirror in offline_runs(studies / "s")}
    assert sorted(names.values()) == ["trial_00000", "trial_00001", "trial_00002"]
    assert {names[run_id] for run_id in first} == {"trial_00000", "trial_00001"}
    assert door(*sampled, "study.n_trials=3").left_behind == []


@pytest.mark.integration
def test_a_crash_is_a_failed_part_of_a_run_that_goes_on(
    door: Door, studies: Path, breaking: Callable[[], None]
) -> None:
    breaking()
    assert door(*WORDS, LRS).code == 0
    parts: dict[str, list[OfflineRun]] = {}
    for mirror in offline_runs(studies / "s"):
        parts.setdefault(mirror.run.display_name, []).append(mirror)
    assert sorted(parts) == ["trial_00000", "trial_00001"]
    failed, finished = sorted(parts["trial_00000"], key=lambda part: -part.exit_code)
    assert (failed.exit_code, finished.exit_code) == (1, 0)
    assert failed.run.run_id == finished.run.run_id
    assert sorted({*failed.series("train/loss"), *finished.series("train/loss")}) == list(range(10))
    assert [part.exit_code for part in parts["trial_00001"]] == [0]


@pytest.mark.integration
def test_a_server_that_refuses_means_offline_and_one_line(
    door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", NOBODY_LISTENS)
    sweep = door(*WORDS, LRS)
    assert sweep.code == 0
    (line,) = about_wandb(sweep.err)
    assert "Connection refused" in line
    assert "recording offline" in line
    assert [mirror.exit_code for mirror in offline_runs(studies / "s")] == [0, 0]
    # Each is told, so that none asks for itself where trials are processes of their own.
    assert {run.config.logger.arguments["mode"] for run in trials(studies / "s").values()} == {"offline"}


def test_a_server_that_never_answers_is_asked_once(door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_logger, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with never_answers() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        sweep = door(*WORDS, LRS)
        mirrored = offline_runs(studies / "s")
        assert server.connections() == 1
    assert sweep.code == 0
    (line,) = about_wandb(sweep.err)
    assert "timed out" in line
    assert [mirror.exit_code for mirror in mirrored] == [0, 0]


@pytest.mark.parametrize(
    "how",
    [
        "WANDB_MODE=offline",
        *(pytest.param(how, marks=pytest.mark.integration) for how in ("WANDB_MODE=disabled", "logger.mode=offline")),
    ],
)
def test_where_w_and_b_is_to_be_offline_nobody_is_asked(
    door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    name, _, mode = how.partition("=")
    words = [how] if name == "logger.mode" else []
    if not words:
        monkeypatch.setenv(name, mode)
    with never_answers() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        sweep = door(*WORDS, LRS, *words)
        mirrored = offline_runs(studies / "s")
        assert server.connections() == 0
    assert sweep.code == 0
    assert about_wandb(sweep.err) == []
    assert len(mirrored) == (0 if mode == "disabled" else 2)
    assert len(trials(studies / "s")) == 2


@pytest.mark.integration
def test_a_key_of_the_wrong_form_is_said_once(door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    sweep = door(*WORDS, LRS)
    assert sweep.code == 0
    (line,) = about_wandb(sweep.err)
    assert "WANDB_API_KEY" in line
    assert len(offline_runs(studies / "s")) == 2


def test_a_server_that_answers_has_every_trial(door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with serve() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        sweep = door(*WORDS, LRS)
        wandb.teardown()
    assert sweep.code == 0
    assert about_wandb(sweep.err) == []
    ended = trials(studies / "s")
    assert len(ended) == len(server.runs) == 2
    for run in ended.values():
        online = server.runs[json.loads((run.path / "wandb.json").read_text())["id"]]
        assert (online.group, online.exit_code) == ("s", 0)
        assert online.config["lr"] == run.config.lr
        assert list(online.series("train/loss")) == run.steps["step"].to_list()
        errors = run.evals.filter(metric="val/error")
        assert online.series("val/error") == dict(errors.select("step", "value").iter_rows())
    assert list(studies.glob("s/wandb/offline-run-*")) == []
    address = wandb_address(load_record(studies / "s"))
    assert re.fullmatch(r"http://127.0.0.1\S*/me/\S+/groups/s/workspace", address)


@pytest.mark.integration
def test_a_table_that_cannot_be_shown_costs_the_run_nothing_else(
    door: Door, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(wandb.Table):
        def __init__(self, **_: object) -> None:
            raise ConnectionResetError("Connection lost")

    monkeypatch.setattr(wandb, "Table", Refused)
    sweep = door(*WORDS, LRS)
    assert sweep.code == 0
    assert sweep.err.count("Connection lost") == 2
    for mirror in offline_runs(studies / "s"):
        assert (mirror.exit_code, mirror.summary["status"]) == (0, "complete")


def test_a_group_and_a_folder_of_ones_own_are_kept(door: Door, tmp_path: Path) -> None:
    assert door(*WORDS, "lr=0.01,0.1", "logger.group=mine", f"logger.dir={tmp_path}/there").code == 0
    mirrored = offline_runs(tmp_path / "there")
    assert [mirror.run.run_group for mirror in mirrored] == ["mine", "mine"]
