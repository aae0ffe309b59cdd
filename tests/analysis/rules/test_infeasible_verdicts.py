"""What failed: facts and judgements, each counted by its cause, and where they lie."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import fisher_exact
from synthetic_tables import study, tables
from verdicts_of_studies import EACH_DRAW, Case, a_study, check_verdicts

from playbook.analysis.rules.infeasible import causes, ends, find, infeasible_trials
from playbook.analysis.tables import CURVE_COLUMNS
from playbook.analysis.threshold import threshold
from playbook.study.space import Choice, Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


def curves(metric: str, values: dict[int, list[float]]) -> pl.DataFrame:
    rows = [(trial, 10 * i, metric, value) for trial, curve in values.items() for i, value in enumerate(curve)]
    return pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row")


def cause_of(found) -> dict[int, str]:
    return dict(causes(found).drop_nulls("cause").select("trial", "cause").iter_rows())


def test_each_cause_by_hand():
    found = tables([0.1, None, None, 0.5, 0.6, 0.89, 0.2], {"lr": [0.01] * 7}, LR, chance=0.9)
    reason = pl.Series("reason", [None, "diverged", "out_of_memory", None, None, None, None])
    loss = {0: [2.0, 1.0], 1: [2.0, 1.0], 3: [2.0, np.nan], 4: [2.0, 1.0, 2.1], 5: [2.0, 1.9], 6: [3.0]}
    found = replace(found, trials=found.trials.with_columns(reason), curves=curves("train/loss", loss))
    assert cause_of(found) == {
        1: "diverged",
        2: "out_of_memory",
        3: "not_finite",
        4: "no_better_than_start",
        5: "no_better_than_chance",
    }
    metric = dict(causes(found).select("trial", "metric").iter_rows())
    assert metric == {0: None, 1: None, 2: None, 3: "train/loss", 4: "train/loss", 5: "val/error", 6: None}


def test_a_crash_is_no_infeasible_trial():
    found = tables([0.1, None, 0.2], {"lr": [0.01] * 3}, LR)
    crashed = replace(found, trials=found.trials.with_columns(status=pl.Series(["complete", "crashed", "complete"])))
    assert causes(crashed)["trial"].to_list() == [0, 2]
    assert find(crashed) == []


@pytest.mark.parametrize("mode", ["min", "max"])
def test_without_a_training_loss_the_objective_is_judged_by_its_best(mode):
    sign = 1 if mode == "min" else -1
    rises_again, never, steady = [0.9, 0.2, 1.5], [0.9, 0.95, 0.9], [0.9, 0.5, 0.4]
    values = {trial: [sign * each for each in curve] for trial, curve in enumerate([rises_again, never, steady])}
    found = tables([sign * 0.2, sign * 0.9, sign * 0.4], {"lr": [0.01] * 3}, LR, mode=mode)
    assert cause_of(replace(found, curves=curves("val/error", values))) == {1: "no_better_than_start"}


def test_no_better_than_the_start_needs_an_evaluation_at_the_start():
    values = {0: [0.4, 0.3], 1: [0.3, 0.31], 2: [0.35, 0.4]}
    found = tables([0.3, 0.3, 0.35], {"lr": [0.01] * 3}, LR)
    for metric in ("val/error", "train/loss"):
        at_start = replace(found, curves=curves(metric, values))
        later = replace(at_start, curves=at_start.curves.with_columns(pl.col("step") + 1000))
        assert set(cause_of(at_start)) == {1, 2}
        assert cause_of(later) == {}
        assert (infeasible_trials(at_start), infeasible_trials(later)) == ({1, 2}, frozenset())
        assert find(later) == []


def test_a_bug_may_be_the_reason_where_no_setting_is():
    space = {"model.dropout": Float(0, 0.5), "optimizer": Choice(("sgd", "adam"))}
    optimizer = ["sgd"] * 8 + ["adam"] * 8
    columns = {"model.dropout": list(np.random.default_rng(0).uniform(0, 0.5, 16)), "optimizer": optimizer}
    everywhere = [None] * 16
    somewhere = [None if i % 2 else 0.1 for i in range(16)]
    of_sgd = [None] * 8 + [0.1] * 8
    for objective, bug in ((everywhere, True), (somewhere, True), (of_sgd, False)):
        (finding,) = find(tables(objective, columns, space))
        assert finding.evidence["may_be_a_bug"] == bug
        assert ("bug" in finding.message) == bug
    assert "optimizer=sgd" in finding.message
    (finding,) = find(study(64, LR, lambda at: (at["lr"] - 0.3) ** 2, infeasible=lambda at: at["lr"] > 2 / 3))
    assert "bug" not in finding.message
    (finding,) = find(tables([None, *[0.1] * 15], columns, space))
    assert "bug" not in finding.message


def test_ends_of_curves_in_any_order_of_rows():
    table = curves("train/loss", {3: [5.0, np.inf, 1.0], 4: [2.0], 5: [1.0, np.nan]}).reverse()
    found = ends(replace(tables([0.1], {"lr": [0.1]}, LR), curves=table), "train/loss")
    assert found.rows()[0] == (3, 5.0, 1.0, 1.0, 5.0)
    assert found["trial"].to_list() == [3, 5]
    assert np.isnan(found["last"][1])


@pytest.mark.parametrize(
    ("failed", "severity"), [(1, "info"), (3, "info"), (4, "advice"), (9, "advice"), (10, "problem")]
)
def test_how_bad_a_fraction_of_sixteen_is(failed, severity):
    space = {"model.dropout": Float(0, 0.5)}
    found = tables([None] * failed + [0.1] * (16 - failed), {"model.dropout": [0.25] * 16}, space)
    (finding,) = find(found)
    assert (finding.code, finding.rule, finding.severity) == ("infeasible_fraction", "B7", severity)
    assert finding.evidence["causes"] == {"diverged": failed}
    assert finding.trials == tuple(range(failed))


def test_where_they_fail_and_the_range_without_it():
    found = study(64, LR, lambda at: (at["lr"] - 0.3) ** 2, infeasible=lambda at: at["lr"] > 2 / 3)
    (finding,) = find(found)
    where = finding.evidence["where"]
    assert (where["parameter"], where["side"]) == ("lr", "above")
    assert where["value"] == pytest.approx(1e-2, rel=0.2)
    assert finding.next[0].changes == {"lr": Float(1e-4, float(format(where["value"], ".2g")), "log")}


def test_the_range_without_it_stays_below_one():
    space = {"optimizer.beta": Float(0.8, 0.999, "log_one_minus")}
    (finding,) = find(
        study(64, space, lambda at: at["optimizer.beta"] ** 2, infeasible=lambda at: at["optimizer.beta"] > 0.7)
    )
    where = finding.evidence["where"]
    assert 0.995 < where["value"] < 0.9955  # of two digits that would be 1
    high = finding.next[0].changes["optimizer.beta"].high
    assert 1 - high == pytest.approx(1 - where["value"], rel=0.1)


def test_failures_at_random_lie_nowhere():
    failed = np.random.default_rng(0).random(64) < 0.3
    (finding,) = find(study(64, LR, lambda at: at["lr"], infeasible=lambda at: failed))
    assert "where" not in finding.evidence
    assert finding.parameter is None


def test_a_threshold_parts_best_and_its_p_is_fishers():
    rng = np.random.default_rng(3)
    values = rng.permutation(np.geomspace(1e-4, 1e-1, 20))
    failed = (values > 0.01) ^ (rng.random(20) < 0.1)
    trials = pl.DataFrame({"lr": values})
    found = threshold(trials, pl.Series(failed), "lr", LR["lr"], "above")
    in_place = {cut: ((values >= cut) == failed).sum() for cut in values[values > values.min()]}
    inside = values > found.value
    assert (inside == failed).sum() == max(in_place.values())
    split = [[failed[inside].sum(), (~failed[inside]).sum()], [failed[~inside].sum(), (~failed[~inside]).sum()]]
    assert found.p == pytest.approx(19 * fisher_exact(split, alternative="greater").pvalue)
    assert (found.inside, found.num_inside) == (split[0][0], inside.sum())
    mirrored = threshold(pl.DataFrame({"lr": 1e-5 / values}), pl.Series(failed), "lr", LR["lr"], "below")
    assert (mirrored.value, mirrored.p) == (pytest.approx(1e-5 / found.value), pytest.approx(found.p))


@pytest.mark.parametrize("failed", [[True] * 4, [False] * 4])
def test_no_threshold_where_all_are_alike(failed):
    trials = pl.DataFrame({"lr": [0.1, 0.2, 0.3, 0.4]})
    assert threshold(trials, pl.Series(failed), "lr", LR["lr"], "above") is None
    same = pl.DataFrame({"lr": [0.1] * 4})
    assert threshold(same, pl.Series([True, False, True, False]), "lr", LR["lr"], "above") is None


def infeasible_fraction(rng, fault: bool) -> Case:
    share = rng.uniform(0.4, 0.8) if fault else rng.uniform(0.0, 0.05)
    tables = a_study(
        rng, int(rng.integers(16, 100)), 3, lr=rng.uniform(0.1, 0.4), infeasible=lambda at: at["lr"] > 1 - share
    )
    return Case(tables, find, fault)


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(infeasible_fraction, seed)
