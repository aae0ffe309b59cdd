"""The two sentences say who won, by how much over whom, and what that is worth."""

from dataclasses import replace

import polars as pl
import pytest

from playbook.analysis.finding import Finding
from playbook.analysis.isolation import isolation
from playbook.analysis.metrics import direction
from playbook.analysis.rules import find_all
from playbook.analysis.rules.arms import comparisons, summary
from playbook.analysis.tables import Tables
from playbook.errors import InputError
from playbook.report.answer import answer
from playbook.study.design import Objective
from playbook.study.space import Choice, Float


def tables(objectives, *, arms=None, mode="min", metric="val/error", **others):
    count = len(objectives)
    trials = pl.DataFrame(
        {
            "trial": range(count),
            "arm": arms or ["all"] * count,
            "status": ["complete" if value is not None else "infeasible" for value in objectives],
            "objective": pl.Series(objectives, dtype=pl.Float64),
            "lr": [0.1 * (place + 1) for place in range(count)],
        }
    )
    names = dict.fromkeys(arms or ["all"])
    space = {arm: {"lr": Float(0.01, 10.0, "log"), "optimizer": Choice(("sgd", "adam"))} for arm in names}
    return Tables(trials, Objective(metric, mode), space=space, **others)


def test_one_arm():
    said = answer(tables([0.5, 0.2, 0.3, None]), [])
    assert said.startswith("Trial 1 is the best with lr=0.2: val/error 0.2, 0.1 better than the next (trial 2)")
    assert "rests on 3 trials" in said
    assert "one seed each" in said


def test_more_is_better():
    assert answer(tables([0.5, 0.9, 0.3], mode="max"), []).startswith("Trial 1 is the best with lr=0.2: val/error 0.9")


def test_a_tie():
    said = answer(tables([0.2, 0.2, 0.4, 0.3]), [])
    assert said.startswith("2 trials tie for the best (trial 0, 1): val/error 0.2, 0.05 better than the typical one.")


def test_arms_that_tie():
    said = answer(tables([0.2, 0.2, 0.3, 0.2], arms=["a", "b", "a", "c"]), [])
    assert said.startswith("a, b and c tie: val/error 0.2 in trial 0 with lr=0.1, the best of 2 and of 1 trials.")


def test_settings_that_tie():
    said = answer(repeated([0.1, 0.1, 0.2, 0.2], [0.125, 0.375, 0.25, 0.25]), [])
    assert said.startswith("The settings lr=0.1 and lr=0.2 tie for the best: val/error 0.25 on average over 2 repeats.")


def test_of_arms_that_are_repeated_the_mean_counts_and_not_the_luckiest_seed():
    nesterov, adam = [0.100, 0.101, 0.099, 0.102, 0.098], [0.080, 0.130, 0.131, 0.129, 0.132]
    arms = ["optimizer=nesterov"] * 5 + ["optimizer=adam"] * 5
    of = tables([*nesterov, *adam], arms=arms, repeat=("seed",))
    trials = of.trials.drop("lr").with_columns(optimizer=pl.col("arm").str.slice(10), seed=pl.Series([*range(5)] * 2))
    space = {arm: {"optimizer": Choice(("nesterov", "adam")), "seed": Choice((*range(5),))} for arm in of.arms}
    of = replace(of, trials=trials, space=space, scientific=("optimizer",))
    said = answer(of, find_all(of))
    assert said.startswith("optimizer=nesterov comes out ahead: val/error 0.1 on average over its repeats, 0.02 better")
    assert "than optimizer=adam (0.1204), each the best of 1 setting." in said
    assert "Against optimizer=adam the order may be luck: so few cannot tell; also, repeats of one setting" in said
    assert "differ by 0.0016 (standard deviation)" in said
    (comparison,) = comparisons(of)
    assert (comparison.best, comparison.best_objective) == ("optimizer=nesterov", pytest.approx(0.1))
    assert summary(of)["trials"].to_list() == [1, 1]
    assert isolation(of, "optimizer").select("label", "trial").rows() == [("nesterov", 0), ("adam", 8)]
    assert isolation(of, "seed")["trials"].to_list() == [2] * 5  # of seeds the trials are compared


def repeated(lrs, objectives):
    of = tables(objectives, repeat=("seed",))
    return replace(of, trials=of.trials.with_columns(lr=pl.Series(lrs), seed=pl.Series(range(len(lrs)))))


def test_of_repeats_the_mean_counts_and_not_the_luckiest_seed():
    said = answer(repeated([0.1, 0.1, 0.2, 0.2, 0.4, 0.4], [0.1, 0.5, 0.2, 0.22, 0.05, None]), [])
    assert said.startswith("The best setting is lr=0.2: val/error 0.21 on average over 2 repeats, 0.09 better than")
    assert "the next, lr=0.1. Repeats of one setting differ by 0.014 (standard deviation), the mean of 2 by" in said


def test_repeats_of_one_setting_are_a_measure_of_noise():
    said = answer(repeated([0.1] * 3, [0.2, 0.3, 0.4]), [])
    assert said.startswith("One setting was repeated: val/error 0.3 on average over 3 repeats. Repeats of one setting")
    assert "differ by 0.1 (standard deviation): between two single trials, less than that is luck." in said


def test_repeats_that_never_trained_together():
    assert "Trial 0 is the best" in answer(repeated([0.1, 0.1, 0.2, 0.2], [0.1, None, None, 0.2]), [])


def test_arms_beyond_luck_and_within():
    arms = ["optimizer=sgd", "optimizer=adam"] * 12
    apart = answer(
        tables([0.5 + 0.01 * place if place % 2 else 0.1 + 0.01 * place for place in range(24)], arms=arms), []
    )
    assert apart.startswith("optimizer=sgd comes out ahead: val/error 0.1 in trial 0 with lr=0.1, 0.41 better than")
    assert "optimizer=adam (0.51), each the best of 12 trials." in apart
    assert "more than the luck of a search explains" in apart
    mixed = answer(tables([0.1 + 0.01 * place for place in range(24)], arms=arms), [])
    assert "Against optimizer=adam the order may be luck" in mixed
    three = answer(tables([0.1 + 0.01 * place for place in range(24)], arms=["a", "b", "c"] * 8), [])
    assert "Against each of the other arms the order may be luck" in three


def test_where_all_crashed_the_learning_rate_is_not_the_first_suspect():
    crashed = tables([None, None])
    said = answer(replace(crashed, trials=crashed.trials.with_columns(status=pl.lit("crashed"))), [])
    assert said.startswith("None of the 2 trials has an objective (2 crashed).")
    assert said.endswith("look at the traceback of one of them.")
    order = [
        answer(tables([None, None]), []).index(word) for word in ("warmup", "clipping", "lower learning rate last")
    ]
    assert order == sorted(order)


def test_the_gravest_doubt_is_said():
    findings = [
        Finding("space_boundary", "problem", "B5", "…", arm="all", parameter="lr"),
        Finding("overfitting", "advice", "B8", "…", arm="all"),
    ]
    assert answer(tables([0.5, 0.2, 0.3]), findings).endswith(
        "its best lr lies at the edge of the range, so better ones may lie beyond."
    )
    other = [Finding("overfitting", "advice", "B8", "…", arm="another"), Finding("few_trials", "info", "B6", "…")]
    assert "luck" in answer(tables([0.5, 0.2, 0.3]), other)  # neither is about the winner and grave


@pytest.mark.parametrize(
    ("objectives", "beginning"),
    [
        ([], "No trial has ended yet."),
        ([0.5], "Trial 0 with lr=0.1 is the only one with an objective: val/error 0.5."),
        ([None, None], "None of the 2 trials has an objective (2 infeasible)."),
    ],
)
def test_little_to_say(objectives, beginning):
    assert answer(tables(objectives), []).startswith(beginning)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val/loss", "min"),
        ("val/error", "min"),
        ("valid_accuracy", "max"),
        ("test-f1", "max"),
        ("valPerplexity", "min"),
    ],
)
def test_the_name_of_a_metric_says_its_direction(metric, mode):
    assert direction(metric) == mode


@pytest.mark.parametrize("metric", ["val/thing", "error_accuracy"])
def test_another_name_does_not(metric):
    with pytest.raises(InputError, match=r"add objective\.mode=min or max"):
        direction(metric)
