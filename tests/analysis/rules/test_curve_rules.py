"""What the findings about curves say and propose, on studies whose faults are known, and on tables of any kind."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_curves import KINDS, clear, draw, only

from playbook.analysis.curves.rectangle import Thresholds
from playbook.analysis.rules import (
    best_step,
    clipping,
    input_bound,
    late_variance,
    overfitting,
    periodic,
    saturated,
    still_improving,
    train_loss_rising,
)
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import Objective

QUESTIONS = (
    best_step,
    clipping,
    input_bound,
    late_variance,
    overfitting,
    periodic,
    saturated,
    still_improving,
    train_loss_rising,
)


def test_more_and_fewer_steps_are_proposed():
    longer = clear("improves")
    assert only(still_improving.find(longer)).next[0].changes == {"max_steps": 2 * longer.max_steps}
    shorter = clear("saturates")
    assert 0.1 < only(saturated.find(shorter)).next[0].changes["max_steps"] / shorter.max_steps < 0.7
    assert only(saturated.find(replace(shorter, max_steps=None))).next == ()


def test_an_arm_is_not_both_flat_and_improving():
    for kind in KINDS:
        for seed in range(12):
            tables = draw(kind, seed)
            assert not (saturated.find(tables) and still_improving.find(tables))


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_evaluations_say_nothing(kind):
    tables = clear(kind)
    steps = tables.curves["step"].unique().sort().head(Thresholds.fewest - 1)
    short = replace(tables, curves=tables.curves.filter(pl.col("step").is_in(steps.to_list())))
    for question in (late_variance, overfitting, periodic, saturated, still_improving, train_loss_rising):
        assert question.find(short) == []


@pytest.mark.parametrize("kind", ["overfits", "improves", "saturates", "rises", "periodic"])
def test_scale_and_direction_do_not_matter(kind):
    tables = clear(kind)
    code = {question: [(f.code, f.severity) for f in question.find(tables)] for question in QUESTIONS}
    is_val = pl.col("metric") == "val/error"
    turned = pl.when(is_val).then(-(2.0**13) * pl.col("value")).otherwise(2.0**-10 * pl.col("value")).alias("value")
    mode = "max" if tables.objective.mode == "min" else "min"
    mirrored = replace(
        tables,
        curves=tables.curves.with_columns(turned),
        trials=tables.trials.with_columns(pl.col("objective") * -(2.0**13)),
        objective=Objective("val/error", mode),
    )
    for question in QUESTIONS:
        assert [(f.code, f.severity) for f in question.find(mirrored)] == code[question]


VALUES = st.one_of(
    st.floats(),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e17, -1e17, 1e308, 0.0, None]),
    st.floats(0, 1),
    st.just(0.0),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_table_breaks_a_question_and_every_finding_can_be_written_down(data):
    count = data.draw(st.integers(0, 4))
    status = st.sampled_from(["complete", "complete", "complete", "infeasible", "crashed"])
    rows, steps = [], {}
    for trial in range(count):
        for metric in ("val/error", "train/loss"):
            values = data.draw(st.lists(VALUES, max_size=12)) * data.draw(st.integers(1, 4))
            rows += [(trial, 10 * i, metric, value) for i, value in enumerate(values)]
        losses = data.draw(st.lists(VALUES, max_size=8)) * 5
        columns = dict.fromkeys(("loss", "grad_norm", "data_seconds", "step_seconds"), losses)
        steps[trial] = pl.DataFrame(
            {"step": range(len(losses)), **columns, "clipped": [True] * len(losses)},
            schema_overrides={"step": pl.Int64(), **{name: pl.Float64() for name in columns}, "clipped": pl.Boolean()},
        )
    trials = pl.DataFrame(
        {
            "trial": range(count),
            "arm": ["all"] * count,
            "status": [data.draw(status) for _ in range(count)],
            "objective": [data.draw(VALUES) for _ in range(count)],
            "best_step": [data.draw(st.one_of(st.none(), st.integers(0, 500))) for _ in range(count)],
        },
        schema={
            "trial": pl.Int64(),
            "arm": pl.String(),
            "status": pl.String(),
            "objective": pl.Float64(),
            "best_step": pl.Int64(),
        },
    )
    mode = data.draw(st.sampled_from(["min", "max"]))
    curves = pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row")
    tables = Tables(
        trials, Objective("val/error", mode), curves, steps, max_steps=data.draw(st.sampled_from([None, 400]))
    )
    for question in QUESTIONS:
        for found in question.find(tables):
            json.dumps({"evidence": dict(found.evidence), "message": found.message}, allow_nan=False)
            assert "nan" not in found.message
            assert " inf" not in found.message
            assert set(found.trials) <= set(range(count))


def test_no_warmup_is_proposed_that_is_shorter_than_the_one_there_is():
    tables = replace(clear("rises"), max_steps=1000)
    assert len(only(train_loss_rising.find(tables)).next) == 1
    assert only(train_loss_rising.find(replace(tables, warmup_steps=50))).next == ()


def test_five_evaluations_of_a_smooth_descent_say_nothing_about_its_end():
    curve = {0: 0.885, 40: 0.484, 80: 0.365, 120: 0.2744, 140: 0.2646}
    rows = [(trial, step, "val/error", value + 1e-4 * trial) for trial in range(8) for step, value in curve.items()]
    trials = pl.DataFrame({"trial": range(8), "arm": "all", "status": "complete", "objective": [0.2646] * 8})
    tables = Tables(trials, Objective(), pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row"), max_steps=140)
    assert late_variance.find(tables) == []
    assert still_improving.find(tables) == []
