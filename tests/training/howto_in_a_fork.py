"""Run by `test_howto.py` in a fork that has the files of the pages: the commands of each, and what becomes of them."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import sys

import pytest
from command import ROOT
from conftest import SMALL
from run_state import final_state, kill_at

import playbook
from playbook.data import Text
from playbook.training import train
from playbook.trial_config import compose

SHORT = [f"{key}={value}" for key, value in (SMALL | {"max_steps": "12", "eval_every": "6"}).items()]
PAGES = {
    "fine_tuning": ["model.width=4"],
    "language_model": ["warmup_steps=2", "batch_size=4", "data.context=16", "model.width=16", "model.depth=1"],
    "multilabel": ["model.width=4"],
    "segmentation": ["model.width=4"],
    "two_inputs": ["max_steps=40", "eval_every=20"],
}
"""What makes the trials of each short."""


def commands_of(page: str) -> list[list[str]]:
    """The words of each command of the page, without `python`."""
    shown = (ROOT / f"docs/howto/{page}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", shown, re.M | re.S)
    return [shlex.split(line)[1:] for block in blocks for line in block.replace("\\\n", "").splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_train_study_and_report_and_a_killed_run_goes_on(page, door, tmp_path, untimed, monkeypatch):
    short = [*SHORT, *PAGES[page]]
    words: list[str] = []
    for script, *given in commands_of(page):
        if script == "-m":
            (tmp_path / "mine.txt").write_bytes(Text().load("val").tokens[:20000].numpy().tobytes())
            monkeypatch.setattr(sys, "argv", given)
            runpy.run_module(given[0], run_name="__main__")
            continue
        assert script == "train.py"
        in_study = given[0] == "-m"
        done = door(*given, *short, *(["study.n_trials=2", "study.name=first"] if in_study else []))
        assert done.code == 0, done.out + done.err
        words = words if in_study else given

    (folder,) = (tmp_path / "outputs/runs").iterdir()
    run = playbook.load_run(folder)
    objective = run.config.objective
    curve = run.evals.filter(metric=objective.metric)["value"].to_list()
    assert len(curve) >= 3
    assert (curve[-1] < curve[0]) is (objective.mode == "min")

    killed = tmp_path / "killed"
    config = compose(*words, *short, f"output_dir={killed}")
    kill_at(config, int(run.steps["step"].max()) - 1)
    train(config, verbose=False)
    assert final_state(killed) == final_state(folder)

    study = playbook.load_study(tmp_path / "outputs/studies/first")
    assert study.trials["status"].to_list() == ["complete", "complete"]
    report = tmp_path / "outputs/studies/first/report"
    assert objective.metric in (report / "index.html").read_text(encoding="utf-8")
    found = json.loads((report / "findings.json").read_text(encoding="utf-8"))
    assert [finding["code"] for finding in found] == [finding.code for finding in study.findings()]
