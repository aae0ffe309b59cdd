"""What is said of overfitting, and what is proposed against it."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_curves import clear, only
from verdicts_of_curves import check_verdicts

from playbook.analysis.curves.paired import paired_rise
from playbook.analysis.examples import Examples
from playbook.analysis.rules import overfitting
from playbook.analysis.tables import CURVE_COLUMNS, Tables
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


def wandering(rise: float, seed: int, *, recorded: bool, examples: int = 1000) -> Tables:
    """Twelve trials whose examples come and go slowly, with so many more of a thousand missed at the end."""
    rng = np.random.default_rng(seed)
    steps = np.arange(30) * 10
    values = []
    for _ in range(12):
        drift = np.cumsum(0.1 * rng.standard_t(5, (30, examples)), axis=0)
        ends = np.maximum(np.linspace(-1, 1, 30), 0)[:, None] * rise
        margin = rng.standard_t(4, examples) + 1.5 + drift * 0.4 - 3 * np.exp(-np.arange(30) / 2)[:, None] - ends
        values.append((margin < 0).astype(np.float32))
    means = np.stack([each.mean(axis=1) for each in values])
    rows = [(k, int(s), "val/error", float(v)) for k, row in enumerate(means) for s, v in zip(steps, row, strict=True)]
    trials = pl.DataFrame(
        {"trial": range(12), "arm": "all", "status": "complete", "objective": means.min(axis=1)},
        schema_overrides={"trial": pl.Int64()},
    )
    records = {k: Examples(steps, each) for k, each in enumerate(values)} if recorded else {}
    return Tables(trials, Objective(), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"), examples=records)


@pytest.mark.parametrize("recorded", [False, True])
def test_slow_noise_is_no_overfitting_and_a_rise_of_all_trials_is(recorded):
    said = {rise: [overfitting.find(wandering(rise, s, recorded=recorded)) for s in range(12)] for rise in (0.0, 0.5)}
    assert sum(map(bool, said[0.0])) <= 1
    assert all(said[0.5])
    finding = said[0.5][0][0]
    assert finding.evidence["examples"] == (1000 if recorded else 0)
    assert ("1000 examples" in finding.message) == recorded
    low, high = finding.evidence["rise_interval"]
    assert 0 < low < finding.evidence["rise"] < high


def test_the_luck_of_the_examples_is_in_the_error_though_all_trials_share_it():
    """Each study is one trial six times: the trials agree wholly, and only the examples say how sure that is."""
    said = 0
    for seed in range(3):
        for one in wandering(0.0, seed, recorded=True, examples=400).examples.values():
            said += paired_rise([one] * 6).pooled.p_above < 0.05
    assert said <= 5  # of 36; by the trials alone, half


def test_fewer_than_five_examples_say_nothing():
    steps, trials = np.arange(20), 8
    for more, said in ((4, False), (9, True)):
        missed = np.full((trials, 20), 30) + np.maximum(np.arange(20) - 8, 0) * more // 11
        missed[:, :3] = [200, 90, 50]
        tables = wandering(0.0, 0, recorded=False)
        rows = [(k, int(s), "val/error", missed[k, s] / 359) for k in range(trials) for s in steps]
        frame = tables.trials.head(trials).with_columns(objective=pl.lit(30 / 359))
        given = replace(tables, trials=frame, curves=pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"))
        assert bool(overfitting.find(given)) == said


def test_a_regulariser_that_is_the_question_is_not_asked_for_first():
    tables = clear("overfits")
    (found,) = overfitting.find(replace(tables, scientific=("model.dropout",)))
    assert (found.severity, found.next) == ("info", ())
    assert "model.dropout" in found.message
    assert "Regularise" not in found.message
    (found,) = overfitting.find(replace(tables, scientific=("optimizer",)))
    assert found.severity != "info"
