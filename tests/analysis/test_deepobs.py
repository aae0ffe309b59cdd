"""Learning-rate studies that nobody here made, with their known answers: 6 problems, 3 optimizers, 36 lrs each."""

import json
import math
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from playbook.analysis.external import from_frames
from playbook.analysis.rejudge import rejudge
from playbook.analysis.rules import arms, boundary, infeasible, stability_edge
from playbook.study.design import Objective
from playbook.study.space import Choice, Float

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "deepobs"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the trials are not there")

OPTIMIZERS = ("GradientDescent", "Momentum", "Adam")
BEST_LR = {
    "quadratic_deep": (0.0158, 0.00251, 0.0398),
    "mnist_vae": (0.00398, 2.51e-5, 1.59e-4),
    "fmnist_2c2d": (0.159, 0.00251, 2.51e-4),
    "cifar10_3c3d": (0.0631, 3.98e-4, 3.98e-4),
    "fmnist_vae": (0.00398, 1e-5, 1.59e-4),
    "tolstoi_char_rnn": (1.58, 0.0398, 0.00251),
}
NOT_FINITE = {
    "quadratic_deep": (18, 16, 0),
    "mnist_vae": (10, 15, 23),
    "fmnist_2c2d": (0, 0, 0),
    "cifar10_3c3d": (15, 19, 2),
    "fmnist_vae": (13, 18, 23),
    "tolstoi_char_rnn": (0, 0, 7),
}
ABOVE_ITS_START = {
    "quadratic_deep": (0, 0, 0),
    "mnist_vae": (0, 0, 0),
    "fmnist_2c2d": (9, 18, 15),
    "cifar10_3c3d": (0, 0, 12),
    "fmnist_vae": (4, 4, 0),
    "tolstoi_char_rnn": (4, 7, 7),
}
STUDIES = [(problem, optimizer) for problem in BEST_LR for optimizer in OPTIMIZERS]


def answer(table, problem, optimizer):
    return table[problem][OPTIMIZERS.index(optimizer)]


@pytest.fixture(scope="module")
def runs():
    every = [json.loads(line) for path in FOLDER.glob("*.jsonl") for line in path.open(encoding="utf-8")]
    return [run for run in every if run["random_seed"] == 42]


@pytest.fixture(scope="module")
def studies(runs):
    """Each study as tables, by its last evaluation."""
    found = {}
    for problem, optimizer in STUDIES:
        mine = [run for run in runs if (run["testproblem"], run["optimizer"]) == (problem, f"{optimizer}Optimizer")]
        mine.sort(key=lambda run: run["learning_rate"])
        accuracy = bool(mine[0].get("test_accuracies"))
        metric = "test_accuracies" if accuracy else "test_losses"
        rows = [
            (trial, step, name, value)
            for trial, run in enumerate(mine)
            for name in ("train_losses", metric)
            for step, value in enumerate(run[name])
        ]
        curves = pl.DataFrame(rows, schema=["trial", "step", "metric", "value"], orient="row")
        trials = pl.DataFrame({"trial": range(len(mine)), "lr": [run["learning_rate"] for run in mine]})
        tables = from_frames(trials, curves, None, Objective(metric, "max" if accuracy else "min"))
        found[problem, optimizer] = rejudge(tables, metric, tables.objective.mode, by="final")
    return found


@pytest.mark.parametrize("study", STUDIES, ids="-".join)
def test_the_best_learning_rate(studies, study):
    found = studies[study]
    assert found.ranked()["lr"][0] == pytest.approx(answer(BEST_LR, *study), rel=0.01)
    low, high = found.trials["lr"].min(), found.trials["lr"].max()
    assert found.space == {"all": {"lr": Float(low, high, "log")}}


@pytest.mark.parametrize("study", STUDIES, ids="-".join)
def test_how_many_diverged_and_how_many_are_worse_than_at_their_start(studies, study):
    ends = infeasible.ends(studies[study], "train_losses")
    finite = ends.filter(pl.col("last").is_finite())
    assert len(ends) - len(finite) == answer(NOT_FINITE, *study)
    assert len(finite.filter(pl.col("last") > pl.col("first"))) == answer(ABOVE_ITS_START, *study)
    cause = infeasible.causes(studies[study])["cause"]
    loud = cause.is_in(["diverged", "not_finite"]).sum()
    assert (loud, (cause == "no_better_than_start").sum()) == (
        answer(NOT_FINITE, *study),
        answer(ABOVE_ITS_START, *study),
    )


@pytest.mark.parametrize("as_grid", [False, True], ids=["range", "grid"])
def test_one_best_lies_on_the_edge_of_the_grid(studies, as_grid):
    problems = []
    for study, tables in studies.items():
        found = tables
        if as_grid:
            grid = Choice(tuple(tables.trials["lr"]))
            found = replace(tables, space={"all": {"lr": grid}})
        for each in boundary.find(found):
            position = math.log10(each.evidence["best"] / 1e-5) / 7
            assert not 0.15 <= position <= 0.85
            if each.severity == "problem":
                problems.append((study, each.evidence["end"]))
    assert problems == [(("fmnist_vae", "Momentum"), "lower")]


def test_the_best_is_at_the_edge_of_stability_where_the_next_lrs_diverge(studies):
    at_edge = {study for study, tables in studies.items() if stability_edge.find(tables)}
    assert at_edge == {("quadratic_deep", "GradientDescent"), ("cifar10_3c3d", "GradientDescent")}


def of_ten_seeds(problem, optimizers):
    """The last accuracy of each seed of some optimizers at their best learning rates: an arm an optimizer."""
    rows = []
    for line in (FOLDER / f"{problem}.jsonl").open(encoding="utf-8"):
        run = json.loads(line)
        optimizer = run["optimizer"].removesuffix("Optimizer")
        lr = answer(BEST_LR, problem, optimizer)
        if optimizer in optimizers and math.isclose(run["learning_rate"], lr, rel_tol=0.01):
            rows.append((optimizer, lr, run["random_seed"], run["test_accuracies"][-1]))
    frame = pl.DataFrame(rows, schema=["arm", "lr", "seed", "objective"], orient="row").with_row_index("trial")
    assert len(frame) == 10 * len(optimizers)
    return from_frames(frame, None, None, Objective("test_accuracies", "max"))


@pytest.mark.parametrize(
    ("problem", "better", "other", "told"),
    [
        ("fmnist_2c2d", "Adam", "GradientDescent", False),
        ("cifar10_3c3d", "Adam", "Momentum", False),
        ("cifar10_3c3d", "Adam", "GradientDescent", True),
        ("tolstoi_char_rnn", "GradientDescent", "Adam", True),
    ],
)
def test_arms_of_ten_seeds_are_told_apart_where_they_are(problem, better, other, told):
    """As P(A > B) and its interval say (Bouthillier et al. 2021), of each pair alone."""
    found = arms.compared(of_ten_seeds(problem, (better, other)))
    assert [each.arm for each in found] == [better, other]
    assert (found[0].verdict == "better") == (found[1].verdict == "worse") == told


def test_what_is_told_of_a_pair_may_not_be_of_the_best_of_three():
    """Of three equal arms two differ as much as Adam and gradient descent do here in .06 of studies (Tukey)."""
    verdicts = {each.arm: each.verdict for each in arms.compared(of_ten_seeds("cifar10_3c3d", OPTIMIZERS))}
    assert verdicts == dict.fromkeys(OPTIMIZERS, "cannot tell")
