"""The two sentences say who won, by how much over whom, and what that is worth."""

import polars as pl
import pytest

from playbook.analysis.finding import Finding
from playbook.analysis.tables import Tables
from playbook.errors import InputError
from playbook.report.answer import answer
from playbook.report.direction import direction
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
    assert "no better than the next (trial 1)" in answer(tables([0.2, 0.2, 0.3]), [])


def test_repeats_are_seeds():
    assert "several seeds" in answer(tables([0.2, 0.3, 0.4], repeat=("seed",)), [])


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
