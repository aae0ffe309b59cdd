"""W&B shows the same report beside the trials that are there, and its trouble is a line."""

import json
import os

import pytest
import wandb
import yaml
from ended_study import PLAIN, begin, end
from wandb_file import read_wandb_file

from playbook.report.study_report import contents_of, report
from playbook.run_files import CONFIG, WANDB_ID
from playbook.study.load import load_record


@pytest.fixture
def offline(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # what another test had it read from its environment
    yield
    wandb.teardown()


def mirrored_study(folder):
    trials = begin(folder, PLAIN, 12)
    end(folder, PLAIN, trials)
    logger = {"_target_": "…", "project": "mine", "entity": None, "tags": ["a"], "dir": str(folder)}
    for trial in trials:
        (folder / trial.folder / CONFIG).write_text(yaml.safe_dump({"logger": logger}))
        (folder / trial.folder / WANDB_ID).write_text(json.dumps({"id": f"id{trial.number}"}))
    return folder


def test_the_report_is_a_run_of_its_own_in_the_group(tmp_path, offline):
    folder = mirrored_study(tmp_path / "plain")
    page = report(folder)
    wandb.teardown()
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    run = read_wandb_file(path)
    assert (run.run.run_group, run.run.job_type, run.run.project) == ("plain", "report", "mine")
    assert run.exit_code == 0
    contents = contents_of(load_record(folder), folder / "report")
    assert run.summary["answer"] == contents.answer
    assert run.summary["objective"] == contents.tables.ranked()["objective"][0]
    logged = {key.removesuffix("/_type") for row in run.history for key in row}  # an item a leaf
    assert {"findings", "report", "charts/axis_lr", "charts/best_of_n"} <= logged
    kept = [each.read_text() for each in path.parent.rglob("*.html")]
    assert any(page.read_text() == each for each in kept)
    assert sum("<svg" in each for each in kept) >= len(list(page.parent.glob("*.svg")))
    assert json.loads((page.parent / WANDB_ID).read_text())["id"] == path.stem.removeprefix("run-")


def test_without_mirrored_trials_nothing_is_sent(tmp_path, offline):
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 4))
    report(tmp_path)
    assert not (tmp_path / "wandb").exists()


def test_its_trouble_is_a_line(tmp_path, offline, monkeypatch, capsys):
    def broken(**_):
        raise RuntimeError("the\nserver is on fire")

    monkeypatch.setattr(wandb, "init", broken)
    assert report(mirrored_study(tmp_path / "plain")).exists()
    said = capsys.readouterr().err.splitlines()
    assert said == ["warning: W&B does not show this report (the server is on fire); the files are complete"]


def test_what_cannot_be_shown_takes_nothing_else_with_it(tmp_path, offline, monkeypatch, capsys):
    folder = mirrored_study(tmp_path / "plain")

    class Broken(wandb.Table):
        def __init__(self, **_):
            raise ValueError("too\nlarge")

    monkeypatch.setattr(wandb, "Table", Broken)
    page = report(folder)
    wandb.teardown()
    said = capsys.readouterr().err.splitlines()
    assert said == ["warning: W&B does not show this report (findings: too large); the files are complete"]
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    run = read_wandb_file(path)
    logged = {key.removesuffix("/_type") for row in run.history for key in row}
    assert {"report", *(f"charts/{svg.stem}" for svg in page.parent.glob("*.svg"))} <= logged
    assert run.summary["answer"]
