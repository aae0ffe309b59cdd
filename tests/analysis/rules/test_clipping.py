"""Where the clipping threshold should be, and when clipping is a lower learning rate."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_steps import codes, steps, tables_of_steps

from playbook.analysis.rules import clipping
from playbook.study.space import Float


def test_the_threshold_is_the_90th_percentile_of_the_best_trials_norms():
    many = {trial: steps(trial) for trial in range(8)}
    found = clipping.find(tables_of_steps(many))
    assert codes(found) == [("clip_threshold", "info")]
    percentiles = [np.percentile(many[trial]["grad_norm"], 90) for trial in range(5)]
    assert found[0].next[0].changes["clip_norm"] == pytest.approx(np.median(percentiles), rel=0.05)
    assert found[0].trials == (0, 1, 2, 3, 4)


def test_norms_that_are_not_finite_do_not_count():
    broken = steps(1).with_columns(
        pl.when(pl.col("step") % 3 == 0).then(float("inf")).otherwise("grad_norm").alias("grad_norm")
    )
    assert clipping.threshold(broken["grad_norm"]) == pytest.approx(clipping.threshold(steps(1)["grad_norm"]), rel=0.1)
    assert clipping.threshold(pl.Series([float("nan")] * 50)) is None


@pytest.mark.parametrize(
    ("clip_norm", "aggressive"), [(None, False), (1.9, False), (1.1, False), (0.9, True), (0.1, True)]
)
def test_clipping_more_than_half_of_the_steps_is_a_problem(clip_norm, aggressive):
    given = tables_of_steps({trial: steps(trial, clip_norm=clip_norm) for trial in range(3)}, clip_norm=[clip_norm] * 3)
    found = clipping.find(given)
    assert (("clipping_aggressive", "problem") in codes(found)) == aggressive
    if aggressive:
        assert f"clip_norm={clip_norm}" in found[0].message


def test_where_most_steps_are_clipped_the_learning_rate_is_lowered_by_as_much():
    rate = {trial: steps(trial, clip_norm=0.1).with_columns(lr=pl.lit(0.4)) for trial in range(3)}
    fixed = tables_of_steps(rate, clip_norm=[0.1] * 3)
    kept = 0.1 / np.median([np.median(each["grad_norm"]) for each in rate.values()])
    (remedy,) = clipping.find(fixed)[0].next
    assert remedy.changes["lr"] == pytest.approx(0.4 * kept, rel=0.1)
    assert remedy.changes["clip_norm"] > 10 * 0.1
    lr = {"lr": Float(1e-3, 1.0, "log")}
    searched = replace(fixed, space=dict.fromkeys(fixed.arms, lr))
    (remedy,) = clipping.find(searched)[0].next
    assert remedy.changes["lr"].high == pytest.approx(kept, rel=0.1)
    assert remedy.changes["lr"].low == pytest.approx(1e-3 * kept, rel=0.1)


def test_each_arm_has_its_threshold():
    found = clipping.find(tables_of_steps({trial: steps(trial) for trial in range(6)}, arms="ab"))
    assert [each.arm for each in found] == ["a", "b"]
    assert found[0].trials == (0, 2, 4)
