"""A diagnosis whose runs are trained, by the script; what it concludes is told on simulated networks beside this."""

import json

import polars as pl
import pytest

import playbook

SMALL = ("logger=none", "trainer.device=cpu", "trainer.num_threads=1", "model.width=8", "max_steps=12", "eval_every=6")


@pytest.mark.integration
def test_the_script_trains_its_runs_once_and_evaluates_the_abbreviated_one_after_every_step(
    script_door, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = (*SMALL, "rates=5", "lr_low=1e-3", "lr_high=100", "schedule=linear", "schedule.decay_steps=6")
    code, _ = script_door("diagnose_stability")(*words)
    assert code == 0
    result = json.loads(next(tmp_path.glob("outputs/diagnose_stability/*/result.json")).read_text())
    assert result["verdict"] in ("stable", "unstable early", "unstable mid-run", "cannot tell")
    assert result["lr_star"] in [rate["lr"] for rate in result["rates"]]
    assert result["rates"][-1]["unstable"] == 3  # at a learning rate of 100, or ten times the best
    (often,) = (playbook.load_study(folder) for folder in result["studies"] if "every-step" in folder)
    evals = often.curves(["val/error"])
    assert evals["step"].to_list() == list(range(13))
    assert often.steps(0)["lr"].n_unique() == 1  # constant, whatever the schedule
    sweep = playbook.load_study(result["studies"][0])
    assert sweep.trials.group_by("lr").agg(pl.col("seed").sort())["seed"].to_list() == [[0, 1, 2]] * 5
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("outputs/studies/*/trial_*/result.json")}
    assert script_door("diagnose_stability")(*words)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
