"""More steps are proposed where validation was still getting better."""

from dataclasses import replace

import polars as pl
from synthetic_curves import clear, draw, only
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import late_variance, still_improving
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import Objective


def test_more_steps_are_proposed():
    longer = clear("improves")
    assert only(still_improving.find(longer)).next[0].changes == {"max_steps": 2 * longer.max_steps}


def test_arms_have_their_own_findings():
    good, bad = draw("settles", 141), draw("improves", 141)
    moved = bad.curves.with_columns(pl.col("trial") + 100)
    arms = pl.concat([good.trials, bad.trials.with_columns(pl.col("trial") + 100, arm=pl.lit("other"))])
    if bad.sign != good.sign:
        moved = moved.with_columns(
            value=pl.when(pl.col("metric") == "val/error").then(-pl.col("value")).otherwise("value")
        )
        arms = arms.with_columns(
            objective=pl.when(pl.col("arm") == "other").then(-pl.col("objective")).otherwise("objective")
        )
    both = replace(good, trials=arms, curves=pl.concat([good.curves, moved]))
    assert [each.arm for each in still_improving.find(both)] == ["other"]


def test_five_evaluations_of_a_smooth_descent_say_nothing_about_its_end():
    curve = {0: 0.885, 40: 0.484, 80: 0.365, 120: 0.2744, 140: 0.2646}
    rows = [(trial, step, "val/error", value + 1e-4 * trial) for trial in range(8) for step, value in curve.items()]
    trials = pl.DataFrame({"trial": range(8), "arm": "all", "status": "complete", "objective": [0.2646] * 8})
    tables = Tables(trials, Objective(), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"), max_steps=140)
    assert late_variance.find(tables) == []
    assert still_improving.find(tables) == []


def test_verdicts_are_right():
    check_verdicts(still_improving.find, "still_improving")
