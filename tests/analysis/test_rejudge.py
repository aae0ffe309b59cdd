"""The objective changed after the fact, against a loop over the curves."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_tables import tables

from playbook.analysis.rejudge import rejudge
from playbook.analysis.tables import CURVE_COLUMNS
from playbook.errors import InputError
from playbook.study.space import Float

LR = {"lr": Float(1e-4, 1e-1, "log")}
LOSS = {
    0: [2.0, 0.5, 0.7],
    1: [2.0, np.nan, 1.0],
    2: [2.0, 1.5, np.inf],
    3: [np.nan, np.nan, np.nan],
    4: [2.0, 1.0, 3.0],
}


def with_curves():
    """Six trials: the fifth is infeasible, the sixth has no curve."""
    found = tables([0.1, 0.2, 0.3, 0.4, None, 0.5], {"lr": [0.01] * 6}, LR, chance=0.9)
    rows = [(trial, 10 * i, "val/loss", value) for trial, curve in LOSS.items() for i, value in enumerate(curve)]
    return replace(
        found, curves=pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row").sample(fraction=1, shuffle=True, seed=1)
    )


def rows_of(found):
    return found.trials.select("status", "objective", "best_step", "final_objective").rows()


def test_the_best_value_of_each_curve():
    found = rejudge(with_curves(), "val/loss", "min")
    assert rows_of(found) == [
        ("complete", 0.5, 10, 0.7),
        ("complete", 1.0, 20, 1.0),
        ("complete", 1.5, 10, None),
        ("infeasible", None, None, None),
        ("infeasible", None, None, None),  # it diverged, whatever its curve says
        ("crashed", None, None, None),  # there is nothing to judge it by
    ]
    assert (found.objective.metric, found.objective.mode, found.judged_by, found.chance) == (
        "val/loss",
        "min",
        "best",
        None,
    )
    assert found.trials.columns == with_curves().trials.columns


def test_the_other_direction_and_the_last_value():
    assert [row[:3] for row in rows_of(rejudge(with_curves(), "val/loss", "max"))][:3] == [
        ("complete", 2.0, 0),
        ("complete", 2.0, 0),
        ("complete", 2.0, 0),
    ]
    final = rejudge(with_curves(), "val/loss", "min", by="final")
    assert [row[:3] for row in rows_of(final)][:3] == [
        ("complete", 0.7, 20),
        ("complete", 1.0, 20),
        ("infeasible", None, None),
    ]
    assert final.judged_by == "final"
    assert final.ranked()["trial"].to_list() == [0, 1]


def test_chance_stays_with_its_metric():
    found = with_curves()
    both = pl.concat([found.curves, found.curves.with_columns(metric=pl.lit("val/error"))])
    assert rejudge(replace(found, curves=both), "val/error", "min", by="final").chance == 0.9


def test_a_metric_without_curves():
    with pytest.raises(InputError, match=r"^objective.metric=val/los: no trial has a curve of it; there are val/loss$"):
        rejudge(with_curves(), "val/los", "min")


def test_the_standard_error_is_that_of_the_evaluation_that_counts():
    """And nothing is left of what was recorded about another objective."""
    given = with_curves()
    errors = pl.DataFrame([(0, 10, "val/loss_se", 0.03), (0, 20, "val/loss_se", 0.04)], CURVE_COLUMNS, orient="row")
    trials = given.trials.with_columns(objective_se=pl.lit(0.5), n_examples=pl.lit(100))
    given = replace(given, trials=trials, curves=pl.concat([given.curves, errors]), examples={0: None})
    assert rejudge(given, "val/loss", "min").trials["objective_se"].to_list() == [0.03, *[None] * 5]
    assert rejudge(given, "val/loss", "min", by="final").trials["objective_se"][0] == 0.04
    assert rejudge(given, "val/loss", "min").examples == {}
    bare = replace(given, curves=with_curves().curves)
    assert rejudge(bare, "val/loss", "min").trials.select("objective_se", "n_examples").unique().rows() == [
        (None, None)
    ]
