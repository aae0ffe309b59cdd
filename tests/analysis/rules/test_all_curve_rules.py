"""All rules about curves: few evaluations, other scales and directions, and tables of any kind."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_curves import KINDS, clear

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

RULES = (
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_evaluations_say_nothing(kind):
    tables = clear(kind)
    steps = tables.curves["step"].unique().sort().head(Thresholds.fewest - 1)
    short = replace(tables, curves=tables.curves.filter(pl.col("step").is_in(steps.to_list())))
    for rule in (late_variance, overfitting, periodic, saturated, still_improving, train_loss_rising):
        assert rule.find(short) == []


@pytest.mark.parametrize("kind", ["overfits", "improves", "saturates", "rises", "periodic"])
def test_scale_and_direction_do_not_matter(kind):
    tables = clear(kind)
    code = {rule: [(f.code, f.severity) for f in rule.find(tables)] for rule in RULES}
    is_val = pl.col("metric") == "val/error"
    turned = pl.when(is_val).then(-(2.0**13) * pl.col("value")).otherwise(2.0**-10 * pl.col("value")).alias("value")
    mode = "max" if tables.objective.mode == "min" else "min"
    mirrored = replace(
        tables,
        curves=tables.curves.with_columns(turned),
        trials=tables.trials.with_columns(pl.col("objective") * -(2.0**13)),
        objective=Objective("val/error", mode),
    )
    for rule in RULES:
        assert [(f.code, f.severity) for f in rule.find(mirrored)] == code[rule]


VALUES = st.one_of(
    st.floats(),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e17, -1e17, 1e308, 0.0, None]),
    st.floats(0, 1),
    st.just(0.0),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_table_breaks_a_rule_and_every_finding_can_be_written_down(data):
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
    for rule in RULES:
        for found in rule.find(tables):
            json.dumps({"evidence": dict(found.evidence), "message": found.message}, allow_nan=False)
            assert "nan" not in found.message
            assert " inf" not in found.message
            assert set(found.trials) <= set(range(count))
