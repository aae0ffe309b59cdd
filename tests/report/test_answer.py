"""The two sentences say who won, by how much over whom, and what that is worth."""

from dataclasses import replace

import polars as pl
import pytest

from playbook.analysis.finding import Finding
from playbook.analysis.isolation import isolation
from playbook.analysis.metrics import direction
from playbook.analysis.rules import find_all
from playbook.analysis.rules.arms import compared, summary
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


def test_one_arm_without_a_measure_of_noise():
    said = answer(tables([0.5, 0.2, 0.3, None]), [])
    assert said.startswith("Trial 1 has the best value with lr=0.2: val/error 0.2. Of the other 2 trials none is told")
    assert "the noise is unknown until the best are run again with other seeds" in said


def test_more_is_better():
    said = answer(tables([0.5, 0.9, 0.3], mode="max"), [])
    assert said.startswith("Trial 1 has the best value with lr=0.2: val/error 0.9")


def test_a_tie():
    said = answer(tables([0.2, 0.2, 0.4, 0.3]), [])
    assert said.startswith("2 trials tie for the best (trial 0, 1): val/error 0.2.")


def test_all_equal():
    said = answer(tables([0.2] * 4), [])
    assert said == "All 4 trials have val/error 0.2. There is no winner."


def test_arms_that_tie():
    said = answer(tables([0.2, 0.2, 0.3, 0.2], arms=["a", "b", "a", "c"]), [])
    assert said.startswith("a, b and c tie: val/error 0.2 in trial 0 with lr=0.1. Against each of the other arms")


def test_one_example_more_is_no_lead():
    """A plateau on 359 validation examples: the winner misses 9, the others 10 to 12 (the demo's)."""
    missed = [9, 10, 12, 11, 10, 11, 12, 10, 11, 10, 12, 11, 10, 11, 12, 10]
    plateau = tables([each / 359 for each in missed])
    plateau = replace(plateau, trials=plateau.trials.with_columns(n_examples=pl.lit(359)))
    said = answer(plateau, [])
    assert "15 of the other 15 trials cannot be told from it" in said
    assert "this is a plateau" in said
    assert "0.0028" not in said


def test_of_arms_that_are_repeated_the_mean_counts_and_not_the_luckiest_seed():
    nesterov, adam = [0.100, 0.101, 0.099, 0.102, 0.098], [0.080, 0.130, 0.131, 0.129, 0.132]
    arms = ["optimizer=nesterov"] * 5 + ["optimizer=adam"] * 5
    of = tables([*nesterov, *adam], arms=arms, repeat=("seed",))
    trials = of.trials.drop("lr").with_columns(optimizer=pl.col("arm").str.slice(10), seed=pl.Series([*range(5)] * 2))
    space = {arm: {"optimizer": Choice(("nesterov", "adam")), "seed": Choice((*range(5),))} for arm in of.arms}
    of = replace(of, trials=trials, space=space, scientific=("optimizer",))
    said = answer(of, find_all(of))
    assert said.startswith("optimizer=nesterov comes out ahead: val/error 0.1 on average over 5 repeats; trained again")
    assert said.endswith("Against optimizer=adam the order may be luck.")  # of which one seed is far better
    first, second = compared(of)
    assert (first.arm, first.best, second.best) == ("optimizer=nesterov", pytest.approx(0.1), pytest.approx(0.1204))
    assert summary(of)["trials"].to_list() == [1, 1]
    assert isolation(of, "optimizer").select("label", "trial").rows() == [("nesterov", 0), ("adam", 8)]
    assert isolation(of, "seed")["trials"].to_list() == [2] * 5  # of seeds the trials are compared


def repeated(lrs, objectives):
    of = tables(objectives, repeat=("seed",))
    return replace(of, trials=of.trials.with_columns(lr=pl.Series(lrs), seed=pl.Series(range(len(lrs)))))


def test_of_repeats_the_mean_counts_and_not_the_luckiest_seed():
    said = answer(repeated([0.1, 0.1, 0.2, 0.2, 0.4, 0.4], [0.1, 0.5, 0.2, 0.22, 0.05, None]), [])
    assert said.startswith("The best setting is lr=0.2: val/error 0.21 on average over 2 repeats.")


def test_repeats_are_a_measure_of_noise():
    said = answer(repeated([0.1] * 4 + [0.2] * 4, [0.2, 0.3, 0.4, 0.3, 0.8, 0.9, 1.0, 0.9]), [])
    assert said.startswith(
        "The best setting is lr=0.1: val/error 0.3 on average over 4 repeats; trained again it would"
    )
    assert said.endswith("It is told from the other one (noise from repeats with other seeds).")


def test_repeats_that_never_trained_together():
    said = answer(repeated([0.1, 0.1, 0.2, 0.2], [0.1, None, None, 0.2]), [])
    assert said == "No setting trained in each of its repeats. There is no best one."


def test_arms_beyond_luck_and_within():
    arms = ["optimizer=sgd", "optimizer=adam"] * 12
    apart = answer(
        tables([0.5 + 0.01 * place if place % 2 else 0.1 + 0.01 * place for place in range(24)], arms=arms), []
    )
    assert apart.startswith("optimizer=sgd comes out ahead: val/error 0.1 in trial 0 with lr=0.1")
    assert apart.endswith("It is better than optimizer=adam beyond what luck explains.")
    mixed = answer(tables([0.1 + 0.01 * place for place in range(24)], arms=arms), [])
    assert "gainst optimizer=adam the order may be luck" in mixed
    three = answer(tables([0.1 + 0.01 * place for place in range(24)], arms=["a", "b", "c"] * 8), [])
    assert "gainst each of the other arms the order may be luck" in three


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
    assert "also" not in answer(tables([0.5, 0.2, 0.3]), other)  # neither is about the winner and grave


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
