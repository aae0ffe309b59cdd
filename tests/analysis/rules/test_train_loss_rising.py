"""An instability of the training loss: between evaluations, and one that does not come back."""

from dataclasses import replace

import numpy as np
import polars as pl
from synthetic_curves import clear, only
from synthetic_steps import codes, steps, tables_of_steps
from verdicts_of_curves import check_verdicts

from playbook.analysis.rules import train_loss_rising
from playbook.analysis.tables import Tables


def test_an_instability_between_the_evaluations_is_seen_in_the_steps():
    early = pl.when(pl.col("step").is_between(60, 110)).then(pl.col("loss") + 2).otherwise("loss").alias("loss")
    calm, wild = {0: steps()}, {0: steps().with_columns(early)}
    assert train_loss_rising.find(tables_of_steps(calm)) == []
    found = train_loss_rising.find(tables_of_steps(wild))
    assert codes(found) == [("train_loss_rising", "advice")]
    first = found[0].evidence["trials"][0]
    assert 20 <= first["from_step"] <= 60 <= first["to_step"] <= 120
    assert found[0].next[0].changes == {"warmup_steps": 100}


def test_what_to_try_is_in_order_and_the_last_resort_last():
    early = pl.when(pl.col("step").is_between(60, 110)).then(pl.col("loss") + 2).otherwise("loss").alias("loss")
    (found,) = train_loss_rising.find(tables_of_steps({0: steps().with_columns(early)}))
    assert [list(each.changes) for each in found.next] == [["warmup_steps"], ["clip_norm"]]
    said = [found.message.index(word) for word in ("warmup", "clipping", "optimizer", "initialisation", "lower")]
    assert said == sorted(said)
    assert "bug" in found.message


def test_one_wild_step_is_no_instability():
    spike = pl.when(pl.col("step") == 900).then(1e17).otherwise("loss").alias("loss")
    assert train_loss_rising.find(tables_of_steps({0: steps().with_columns(spike)})) == []


def test_a_loss_that_is_not_finite_at_the_end_has_risen():
    values = [*np.exp(-np.arange(30) / 5), *[float("nan")] * 3]
    curves = pl.DataFrame(
        {"trial": 0, "step": range(33), "metric": "train/loss", "value": values},
        schema_overrides={"trial": pl.Int64(), "step": pl.Int64()},
    )
    given = tables_of_steps({0: steps()})
    found = train_loss_rising.find(Tables(given.trials, given.objective, curves))
    assert codes(found) == [("train_loss_rising", "problem")]
    assert "not finite" in found[0].message


def test_no_warmup_is_proposed_that_is_shorter_than_the_one_there_is():
    tables = replace(clear("rises"), max_steps=1000)
    assert only(train_loss_rising.find(tables)).next[0].changes == {"warmup_steps": 50}
    assert only(train_loss_rising.find(replace(tables, warmup_steps=50))).next == ()


def test_verdicts_are_right():
    check_verdicts(train_loss_rising.find, "train_loss_rising")
