"""Rungs: who goes on is a function of what was reached, a trial that goes on is whole, and one that rests can go on."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import polars as pl
import pytest
from command import ROOT

import playbook
from playbook.analysis.rules import rungs as rule
from playbook.errors import InputError
from playbook.study.design import Trial
from playbook.study.rungs import planned_shares, promoted, reached, said_of_rungs, step_of_rung
from playbook.training.loop import TrialLoop

sys.path.append(str(ROOT / "tests" / "training"))
from run_state import Killed, final_state

SMALL = ("logger=none", "max_steps=20", "eval_every=5", "trainer.num_threads=1", "trainer.device=cpu", "model.width=8")
LR = "lr=tag(log,interval(1e-3,1.0))"
RUNGS = "study.rungs=[0.25,0.5,1]"


def run(name: str, *words: str, n_trials: int = 6):
    return playbook.run_study(
        *SMALL, LR, f"study.name={name}", f"study.n_trials={n_trials}", *words, quiet=True, report=False
    )


def state_of(study, number: int) -> dict:
    found = final_state(study.folder(number))
    for name, content in found.items():
        settings = content if name == "config.yaml" else content["hyper_parameters"] if name.endswith("ckpt") else {}
        settings.pop("pause_at", None)
        settings.pop("output_dir", None)
    return found


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The study that never paused, and the one with rungs, which was killed in its second rung and went on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("rungs"))
        whole = run("whole", "study.reuse=false")
        real, killed = TrialLoop.on_train_batch_start, []

        def dies(loop, *arguments):
            if loop.step == 7 and not killed:
                killed.append(loop.step)
                raise Killed
            real(loop, *arguments)

        with pytest.MonkeyPatch.context() as once:
            once.setattr(TrialLoop, "on_train_batch_start", dies)
            with pytest.raises(Killed):
                run("rungs", RUNGS, "study.promote=0.5", "study.reuse=false")
        rungs = run("rungs", "study.reuse=false")  # the study knows its rungs
        assert killed
        yield whole, rungs, Path.cwd()


def test_the_better_part_of_a_rung_goes_on_and_the_rest_is_paused(studies):
    whole, rungs, _ = studies
    curves = whole.curves(["val/error"])

    def best(trial, until):
        return curves.filter((pl.col("trial") == trial) & (pl.col("step") <= until))["value"].min()

    first = sorted(range(6), key=lambda trial: (best(trial, 5), trial))[:3]
    second = sorted(first, key=lambda trial: (best(trial, 10), trial))[:2]
    status = dict(rungs.trials.select("trial", "status").iter_rows())
    assert {trial for trial, each in status.items() if each == "complete"} == set(second)
    assert {trial for trial, each in status.items() if each == "paused"} == set(range(6)) - set(second)
    paused = [trial for trial, each in status.items() if each == "paused"]
    steps = {trial: json.loads((rungs.folder(trial) / "paused.json").read_text())["steps"] for trial in paused}
    assert steps == {trial: 10 if trial in first else 5 for trial in range(6) if trial not in second}
    table = pl.read_csv(rungs.path / "trials.csv")
    assert table.filter(pl.col("status") == "paused")["objective"].null_count() == 4


def test_a_trial_that_went_on_equals_the_one_that_never_paused(studies):
    whole, rungs, _ = studies
    complete = rungs.trials.filter(pl.col("status") == "complete")["trial"].to_list()
    assert len(complete) == 2
    for trial in complete:
        assert state_of(rungs, trial) == state_of(whole, trial)


def test_the_report_has_paused_trials_in_the_rungs_alone(studies):
    _, rungs, _ = studies
    tables = rungs.tables()
    assert len(tables.trials) == 2
    assert tables.rungs.group_by("share").len().sort("share").rows() == [(0.25, 6), (0.5, 3), (1.0, 2)]
    (found,) = [each for each in rungs.findings() if each.code == "rungs"]
    assert len(found.evidence["paused"]) == 4
    assert "cannot be told, because 3 trials went on" in found.message
    assert found.evidence["correlations"][0]["trials"] == 3


def test_a_longer_study_and_a_larger_share_go_on(studies, monkeypatch):
    whole, rungs, folder = studies
    monkeypatch.chdir(folder)
    before = set(rungs.trials.filter(pl.col("status") == "complete")["trial"])
    longer = run("rungs", "study.reuse=false", n_trials=8)
    status = dict(longer.trials.select("trial", "status").iter_rows())
    assert len(status) == 8
    assert before <= {trial for trial, each in status.items() if each == "complete"}
    everything = run("rungs", "study.reuse=false", "study.rungs=[1]", n_trials=8)
    assert set(everything.trials["status"]) == {"complete"}
    for trial in range(6):
        assert state_of(everything, trial) == state_of(whole, trial)


@pytest.mark.parametrize("rungs", ["[0.5,0.3,1]", "[0.1,0.5]", "[0,1]", "[0.5,2]"])
def test_other_shares_are_refused(rungs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"shares of max_steps above 0, ascending, the last of them 1"):
        run("a", f"study.rungs={rungs}")
    assert not list(tmp_path.iterdir())


def test_a_rung_is_an_evaluation_after_warmup():
    config = {"warmup_steps": 30, "max_steps": 1000, "eval_every": 50}
    assert step_of_rung(config, 0.1) == 150
    assert step_of_rung(config, 0.12) == 150  # 30 + 120
    assert step_of_rung(config, 0.121) == 200
    assert step_of_rung(config, 1) is None
    assert step_of_rung({**config, "eval_every": 5000}, 0.1) is None


def test_who_goes_on():
    trials = [Trial(number, "ab"[number % 2], {}) for number in range(8)]
    values = {0: 0.3, 2: 0.1, 4: 0.1, 6: None, 1: 0.9, 3: 0.8, 5: 0.7, 7: 0.6}
    assert [trial.number for trial in promoted(trials, values, "min", 0.5)] == [2, 4, 5, 7]  # of each arm
    assert [trial.number for trial in promoted(trials, values, "min", 0.25)] == [2, 7]  # of equals the first
    assert [trial.number for trial in promoted(trials, values, "max", 0.01)] == [0, 1]  # at least one
    assert promoted(trials[6:7], values, "min", 1.0) == []  # what reached nothing never goes on


def test_what_was_reached_is_the_best_until_then():
    curve = pl.DataFrame({"step": [0, 5, 10, 15], "value": [0.9, 0.3, 0.5, 0.1]})
    assert reached(curve, 10, "min") == 0.3
    assert reached(curve, 10, "max") == 0.9
    assert reached(curve, 12, "min") is None  # it has not been evaluated there
    assert reached(curve, None, "min") == 0.1


def test_a_plan_counts_what_goes_on():
    assert planned_shares([0.1, 0.3, 1.0], 1 / 3, 9) == [1.0, 0.3, 0.3] + [0.1] * 6
    assert planned_shares([], 1 / 3, 3) == [1.0] * 3
    assert planned_shares([0.5, 1.0], 0.5, 0) == []
    assert "at 0.1, 1 of the steps; the best 33% of each arm" in said_of_rungs([0.1, 1.0], 1 / 3)
    assert said_of_rungs([1.0], 1 / 3) == ""


def test_the_order_of_two_rungs_by_kendall():
    tau, low, high = rule._kendall([1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 8, 7])
    assert tau == pytest.approx(26 / 28)  # one of 28 pairs the other way round
    middle, half = 1.6479, 1.96 * (0.437 / 4) ** 0.5  # atanh(26/28)
    assert low == pytest.approx(math.tanh(middle - half), abs=1e-3)
    assert high == pytest.approx(math.tanh(middle + half), abs=1e-3)
    assert rule._kendall([1, 2], [1, 2])[1] is None
    assert rule._kendall([1, 1, 1], [1, 2, 3])[0] is None
