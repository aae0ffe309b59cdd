"""Trials from elsewhere: whatever their names, types and missing parts."""

import io

import numpy as np
import polars as pl
import pytest

from playbook.analysis.external import NAME, from_frames
from playbook.analysis.rules import find_all
from playbook.errors import InputError
from playbook.study.design import Objective
from playbook.study.space import Choice, Float, Int

LOSS = Objective("val/loss", "min")


def csv(text: str) -> pl.DataFrame:
    return pl.read_csv(io.StringIO(text.replace(" ", "")))


def test_an_objective_and_no_more():
    found = from_frames(csv("trial,lr,objective\n0,0.1,0.5\n1,0.01,nan\n2,0.001,0.3"), None, None, LOSS)
    assert found.trials["status"].to_list() == ["complete", "infeasible", "complete"]
    assert found.trials["objective"].to_list() == [0.5, None, 0.3]
    assert found.arms == ("all",)
    assert found.space == {"all": {"lr": Float(0.001, 0.1, "log")}}
    assert len(found.curves) == 0


def test_curves_and_no_objective():
    curves = csv(
        """trial,step,metric,value
        1,0,val/loss,2.0
        1,20,val/loss,0.9
        1,10,val/loss,0.4
        2,0,val/loss,2.0
        2,10,val/loss,nan
        1,0,train/loss,3.0
        9,0,val/loss,0.0"""
    )
    found = from_frames(csv("trial,lr\n1,0.1\n2,0.2\n3,0.3"), curves, None, LOSS)
    assert found.trials.select("status", "objective", "best_step", "final_objective").rows() == [
        ("complete", 0.4, 10, 0.9),
        ("infeasible", None, 0, None),
        ("infeasible", None, None, None),
    ]
    assert found.curves["trial"].unique().sort().to_list() == [1, 2]  # of a trial that is not there, nothing
    assert found.curve(1, "val/loss").rows() == [(0, 2.0), (10, 0.4), (20, 0.9)]


def test_the_observed_range_stands_in_for_a_space():
    rng = np.random.default_rng(0)
    trials = pl.DataFrame(
        {
            "trial": range(40),
            "objective": rng.random(40),
            "lr": [1e-4 * 1.25**i for i in range(40)],
            "dropout": np.linspace(0, 0.5, 40),
            "width": range(8, 1008, 25),
            "depth": [1, 2, 3, 4] * 10,
            "activation": ["relu", "tanh"] * 20,
            "nesterov": [True, False] * 20,
            "batch_size": [64] * 40,
            "nothing": [None] * 40,
        }
    )
    assert from_frames(trials, None, None, LOSS).space["all"] == {
        "lr": Float(1e-4, 1e-4 * 1.25**39, "log"),
        "dropout": Float(0.0, 0.5),
        "width": Int(8, 983, "log"),
        "depth": Choice((1, 2, 3, 4)),
        "activation": Choice(("relu", "tanh")),
        "nesterov": Choice((False, True)),
    }


def test_a_given_space_says_what_a_hyperparameter_is():
    space = {"lr": Float(1e-6, 1.0, "log")}
    found = from_frames(csv("trial,lr,note,objective\n0,0.1,a,0.5\n1,0.01,b,0.2"), None, space, LOSS)
    assert found.space == {"all": space}


def test_arms_have_their_own_hyperparameters():
    rows = "0,adam,0.1,,0.5\n1,adam,0.01,,0.4\n2,sgd,0.1,0.9,0.3\n3,sgd,0.2,0.8,0.2"
    trials = csv("trial,optimizer,lr,momentum,objective\n" + rows).with_columns(arm=pl.col("optimizer"))
    found = from_frames(trials, None, None, LOSS)
    assert found.scientific == ("optimizer",)
    assert {arm: set(space) for arm, space in found.space.items()} == {"adam": {"lr"}, "sgd": {"lr", "momentum"}}


def test_trials_may_have_any_name():
    trials = csv("trial,lr,objective\n<script>alert(1)</script>,0.1,0.5\nrun-7,0.01,0.4")
    curves = csv("trial,step,metric,value\nrun-7,0,val/loss,1.0")
    found = from_frames(trials, curves, None, LOSS)
    assert found.trials.select("trial", NAME).rows() == [(0, "<script>alert(1)</script>"), (1, "run-7")]
    assert found.curves["trial"].to_list() == [1]
    assert NAME not in found.space["all"]


ERRORS = [
    ("lr,objective\n0.1,0.5", "", r"^trials: the column trial is missing; there are lr, objective$"),
    ("trial,lr,objective\n4,0.1,0.5\n4,0.2,0.5", "", r"^trials: trial '4' is there twice; each trial has one row$"),
    ("trial,lr,objective\n4,0.1,0.5\n,0.2,0.5", "", r"^trials: row 1 has no trial; each needs a number or a name$"),
    ("trial,lr,objective\n0,0.1,good", "", r"^trials: objective 'good' is not a number$"),
    ("trial,lr\n0,0.1", "", r"^trials: there is neither a column objective nor a curve of val/loss$"),
    (
        "trial,lr\n0,0.1",
        "trial,step,metric,value\n0,0,val/acc,1",
        r"^trials: there is neither a column objective nor a curve of val/loss; there are curves of val/acc$",
    ),
    ("trial,lr\n0,0.1", "trial,step,value\n0,0,1", r"^curves: the column metric is missing; needed are trial, step, "),
    ("trial,lr\n0,0.1", "trial,step,metric,value\n0,0.5,val/loss,1", r"^curves: step 0.5 is not a whole number$"),
    ("trial,lr\n0,0.1", "trial,step,metric,value\n0,0,val/loss,low", r"^curves: value 'low' is not a number$"),
    (
        "trial,lr,status,objective\n0,0.1,done,1",
        "",
        r"^trials: status 'done'; allowed are complete, infeasible, crashed$",
    ),
    (
        "trial,lr,objective\n0,inf,0.5",
        "",
        r"^trials: lr is inf in one row; a hyperparameter is a finite number, or empty$",
    ),
]


@pytest.mark.parametrize(("trials", "curves", "line"), ERRORS)
def test_what_cannot_be_read_is_one_line(trials, curves, line):
    with pytest.raises(InputError, match=line):
        from_frames(csv(trials), csv(curves) if curves else None, None, LOSS)


def test_a_space_that_does_not_fit_is_one_line():
    trials = csv("trial,lr,optimizer,objective\n0,0.1,adam,0.5")
    with pytest.raises(InputError, match=r"^space.momentum: trials have no such column; there are lr, optimizer$"):
        from_frames(trials, None, {"momentum": Float(0, 0.9)}, LOSS)
    with pytest.raises(
        InputError, match=r"^space.optimizer: a range, but trials have 'adam' there; allowed are numbers$"
    ):
        from_frames(trials, None, {"optimizer": Float(0, 0.9)}, LOSS)


@pytest.mark.parametrize("text", ["trial,objective", "trial,lr,objective\n0,0.1,0.5", "trial,lr,objective\n0,0.1,nan"])
def test_no_trial_one_trial_and_one_that_failed(text):
    found = from_frames(csv(text), None, None, LOSS)
    assert all(each.severity == "info" for each in find_all(found))


def test_beside_an_objective_curves_say_when_it_was_best():
    curves = csv("trial,step,metric,value\n1,0,val/loss,2\n1,10,val/loss,0.4\n1,20,val/loss,0.5")
    found = from_frames(csv("trial,lr,objective\n1,0.1,0.4\n2,0.2,0.3"), curves, None, LOSS)
    assert found.trials.select("status", "objective", "best_step", "final_objective").rows() == [
        ("complete", 0.4, 10, 0.5),
        ("complete", 0.3, None, None),
    ]


ERROR = Objective("val/error", "min")


def errors_of(text: str, objective=ERROR, n_examples=None):
    found = from_frames(csv(text), None, None, objective, n_examples).trials
    return found.select("objective_se", "n_examples").rows()


def test_the_standard_error_of_an_error_follows_from_the_number_of_examples():
    text = "trial,lr,objective,n_examples\n0,0.1,0.2,100\n1,0.2,0.5,\n2,0.3,nan,100"
    assert errors_of(text) == [(pytest.approx(0.04), 100), (None, None), (None, 100)]
    assert errors_of(text, n_examples=400)[1] == (pytest.approx(0.025), 400)
    assert errors_of(text, Objective("test_acc", "max"))[0][0] == pytest.approx(0.04)
    assert errors_of(text, LOSS)[0] == (None, 100)
    assert errors_of(text.replace("0.5", "25"))[0] == (None, 100)  # percent
    given = "trial,lr,objective,objective_se\n0,0.1,0.2,0.01\n1,0.2,0.5,"
    assert errors_of(given, n_examples=100) == [(0.01, 100), (pytest.approx(0.05), 100)]


@pytest.mark.parametrize(
    ("text", "n_examples", "line"),
    [
        (
            "objective_se\n0,0.1,0.2,-0.1",
            None,
            "trials: objective_se -0.1; a standard error is a finite number from 0 on",
        ),
        ("objective_se\n0,0.1,0.2,inf", None, "trials: objective_se inf; "),
        ("objective_se\n0,0.1,0.2,nan", None, "trials: objective_se nan; "),
        ("objective_se\n0,0.1,0.2,low", None, "trials: objective_se 'low' is not a number"),
        ("n_examples\n0,0.1,0.2,0", None, "trials: n_examples 0; a number of examples is at least 1"),
        ("n_examples\n0,0.1,0.2,1.5", None, "trials: n_examples 1.5 is not a whole number"),
        ("note\n0,0.1,0.2,a", 0, "objective.n_examples=0: a number of examples is at least 1"),
    ],
)
def test_a_standard_error_that_cannot_be_is_one_line(text, n_examples, line):
    with pytest.raises(InputError) as refused:
        errors_of("trial,lr,objective," + text, n_examples=n_examples)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
