"""What is said of overfitting, and what is proposed against it."""

from dataclasses import replace

import numpy as np
import polars as pl
from synthetic_curves import clear, only
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import overfitting
from playbook.study.design import Objective
from playbook.study.space import Choice, Float


def test_overfitting_tells_where_it_was_best_and_proposes_to_regularise():
    tables = clear("overfits")
    found = only(overfitting.find(tables))
    assert found.severity in ("advice", "problem")
    best = tables.ranked()["trial"][0]
    assert found.trials[0] == best
    evidence = found.evidence["trials"][0]
    steps = tables.curve(best, "val/error")["step"].to_numpy()
    values = tables.curve(best, "val/error")["value"].to_numpy() * tables.sign
    lowest = steps[np.nanargmin(np.where(np.abs(values) < 1e9, values, np.nan))]
    assert abs(evidence["best_step"] - lowest) < 0.35 * steps[-1]
    assert found.next[0].changes == {"optimizer.weight_decay": Float(1e-5, 0.1, "log")}
    searched = replace(tables, space={"all": {"optimizer.weight_decay": Float(1e-4, 1e-2, "log")}})
    again = only(overfitting.find(searched))
    assert again.next[0].changes == {"optimizer.weight_decay": Float(1e-4, 0.1, "log")}
    assert "optimizer.weight_decay" in again.message


def test_without_a_training_curve_overfitting_is_never_a_problem():
    tables = clear("overfits")
    assert only(overfitting.find(tables)).severity == "problem"
    alone = replace(tables, curves=tables.curves.filter(pl.col("metric") == "val/error"))
    assert only(overfitting.find(alone)).severity == "advice"


def test_a_trial_that_is_not_the_best_and_overfits_is_information():
    good, bad = clear("settles"), clear("overfits")
    bad_curves = bad.curves.filter(pl.col("trial") == bad.ranked()["trial"][0]).with_columns(
        trial=pl.lit(99, pl.Int64())
    )
    gained = [
        np.ptp(each.curve(int(each.ranked()["trial"][0]), "val/error")["value"].to_numpy()) for each in (good, bad)
    ]
    scale = float(gained[0] / gained[1]) * good.sign * bad.sign  # of two studies, and their directions
    scaled = pl.when(pl.col("metric") == "val/error").then(scale * pl.col("value")).otherwise("value").alias("value")
    bad_curves = bad_curves.with_columns(scaled)
    worst = pl.DataFrame({"trial": [99], "objective": [1e6 * good.sign]}, schema_overrides={"trial": pl.Int64()})
    trials = pl.concat(
        [good.trials, worst.join(good.trials.drop("trial", "objective").head(1), how="cross")], how="diagonal"
    )
    found = only(overfitting.find(replace(good, trials=trials, curves=pl.concat([good.curves, bad_curves]))))
    assert (found.severity, found.trials) == ("info", (99,))


def test_an_objective_on_training_data_cannot_overfit():
    tables = clear("overfits")
    names = {"val/error": "train/error", "train/eval_loss": "train/loss"}
    swapped = tables.curves.with_columns(tables.curves["metric"].replace(names))
    objective = Objective("train/error", tables.objective.mode)
    assert overfitting.find(replace(tables, curves=swapped, objective=objective)) == []


def test_weight_decay_is_searched_farther_up_than_it_was():
    tables = clear("overfits")
    arm = tables.arms[0]
    for searched, high in ((Choice((0.0, 0.001, 0.01)), 1.0), (Float(1e-4, 1e-2, "log"), 0.1), (None, 0.1)):
        space = {} if searched is None else {"optimizer.weight_decay": searched}
        (found,) = overfitting.find(replace(tables, space={arm: space}))
        wider = found.next[0].changes["optimizer.weight_decay"]
        assert (max(wider.values) if isinstance(wider, Choice) else wider.high) == high


def test_verdicts_are_right():
    check_verdicts(overfitting.find, "overfitting")
