"""Real curves that others ran: when they were best, and what one sees in them."""

import json
import math
from pathlib import Path

import polars as pl
import pytest

from playbook.analysis.rules import best_step, overfitting, saturated, still_improving
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import ONLY_ARM, Objective

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "deepobs"
pytestmark = pytest.mark.skipif(not DATA.exists(), reason="no deepobs data beside the checkout")


def ten_seeds(problem: str, optimizer: str) -> Tables:
    """The runs of an optimizer at its best learning rate, by seed from 42 on."""
    runs = [json.loads(line) for line in (DATA / f"{problem}.jsonl").read_text().splitlines()]
    runs = [run for run in runs if run["optimizer"] == optimizer]
    best = next(run["learning_rate"] for run in runs if run["random_seed"] == 43)
    runs = [run for run in runs if math.isclose(run["learning_rate"], best, rel_tol=1e-6)]
    runs.sort(key=lambda run: run["random_seed"])
    metric, mode = ("test_accuracies", "max") if "test_accuracies" in runs[0] else ("test_losses", "min")
    rows = [
        (trial, epoch, name, value)
        for trial, run in enumerate(runs)
        for name in (metric, "train_losses")
        for epoch, value in enumerate(run[name])
    ]
    objectives = [(max if mode == "max" else min)(run[metric]) for run in runs]
    trials = pl.DataFrame(
        {"trial": range(len(runs)), "arm": ONLY_ARM, "status": "complete", "objective": objectives, "best_step": None},
        schema_overrides={"trial": pl.Int64(), "best_step": pl.Int64()},
    )
    return Tables(trials, Objective(metric, mode), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"))


def test_the_best_epochs_are_the_known_ones():
    found = best_step.best_step_shares(ten_seeds("fmnist_2c2d", "AdamOptimizer")).sort("trial")
    assert found["best_step"].to_list() == [93, 95, 100, 91, 65, 61, 59, 74, 96, 83]
    assert found["steps"].to_list() == [100] * 10
    assert best_step.best_step_shares(ten_seeds("quadratic_deep", "AdamOptimizer"))["best_step"].to_list() == [100] * 10


def test_always_best_at_the_end_is_late_and_here_and_there_is_not():
    assert [each.code for each in best_step.find(ten_seeds("quadratic_deep", "AdamOptimizer"))] == ["best_step_late"]
    assert best_step.find(ten_seeds("fmnist_2c2d", "AdamOptimizer")) == []


@pytest.mark.parametrize("optimizer", ["GradientDescentOptimizer", "MomentumOptimizer", "AdamOptimizer"])
def test_a_quadratic_still_falls_and_does_not_overfit(optimizer):
    tables = ten_seeds("quadratic_deep", optimizer)
    assert [each.code for each in still_improving.find(tables)] == ["still_improving"]
    assert saturated.find(tables) == []
    assert overfitting.find(tables) == []
