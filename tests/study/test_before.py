"""Studies and runs that the version before this one made: they open, are reported, and go on.

`tests/fixtures/before` holds a study of two arms at four trials, whose last one was stopped after step 20, and a run.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command import Door

import playbook
from playbook.report.study_report import report

BEFORE = Path(__file__).parents[1] / "fixtures" / "before"
STUDY = (
    *("-m", "optimizer=nesterov,adam", "study.roles.optimizer=scientific", "lr=tag(log,interval(1e-3,1e-1))"),
    *("study.name=arms", "model.width=8", "model.depth=1", "max_steps=40", "warmup_steps=0", "eval_every=20"),
    *("logger=none", "trainer.num_threads=1"),
)
RUN = (*("lr=0.05", "model.width=8", "model.depth=1", "max_steps=40", "warmup_steps=0", "eval_every=20"), STUDY[-1])
POINTS = {
    0: ("nesterov", 0.005561491),
    1: ("adam", 0.01838036),
    2: ("nesterov", 0.05561491),
    3: ("adam", 0.001838036),
    4: ("nesterov", 0.001758698),
    5: ("adam", 0.0581238),
}
"""Each arm has a sequence of its own, as studies had then."""


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "outputs"))


def test_a_study_opens_and_is_reported(outputs: Path) -> None:
    study = playbook.load_study(outputs / "studies" / "arms")
    assert study.trials["trial"].to_list() == [0, 1, 2]
    assert study.design.fixed["task._target_"] == "playbook.tasks.Classification"
    assert {finding.code for finding in study.findings()}
    assert "adam" in report(study.path).read_text()


def test_a_run_opens_with_its_model_and_is_found_again(door: Door, outputs: Path) -> None:
    folder = next((outputs / "runs").iterdir())
    run = playbook.load_run(folder)
    assert run.config.task.target == "playbook.tasks.Classification"
    assert run.config.logger.target == "playbook.loggers.WandbLogger"
    assert run.model() is not None
    again = door(*RUN, f"output_dir={folder}")
    assert again.code == 0
    assert "finished before, not trained again" in again.out
    assert again.left_behind == []


def test_a_study_goes_on_and_is_extended_with_the_points_that_it_would_have_had(
    door: Door, outputs: Path, unreported: None
) -> None:
    stopped = outputs / "studies" / "arms" / "trial_00003"
    before = {path: path.read_bytes() for path in outputs.glob("studies/arms/trial_*/result.json")}
    done = door(*STUDY, "study.n_trials=6")
    assert done.code == 0, done.err
    # The commit of the stopped trial is of that version, and there is none before it: the trial has all of its steps
    # from this one, and says so.
    assert "is not a checkpoint of this version of the program" in done.err
    assert "beginning again from step 0" in done.err
    assert all(path.read_bytes() == then for path, then in before.items())
    trials = playbook.load_study(outputs / "studies" / "arms").trials
    found = {row["trial"]: (row["optimizer"], row["lr"]) for row in trials.rows(named=True)}
    assert found == {number: (name, pytest.approx(lr, rel=1e-6)) for number, (name, lr) in POINTS.items()}
    steps = [int(line.partition(",")[0]) for line in (stopped / "steps.csv").read_text().splitlines()[1:]]
    assert steps == list(range(40))
    assert json.loads((stopped / "result.json").read_text())["status"] == "complete"
