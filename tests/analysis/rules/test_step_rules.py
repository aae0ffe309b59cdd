"""What the tables of steps say: clipping, waiting for data, and an instability that evaluations miss."""

import numpy as np
import polars as pl
import pytest

from playbook.analysis.rules import clipping, input_bound, train_loss_rising
from playbook.analysis.tables import Tables
from playbook.study.design import Objective


def steps(seed: int = 0, count: int = 2000, clip_norm: float | None = None, waiting: float = 0.01) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    norms = np.exp(rng.normal(0, 0.5, count))
    seconds = np.exp(rng.normal(-6, 0.2, count))
    return pl.DataFrame(
        {
            "step": np.arange(count),
            "loss": 0.1 + 2 * np.exp(-np.arange(count) / (0.1 * count)) + 0.05 * rng.standard_normal(count),
            "grad_norm": norms,
            "clipped": np.zeros(count, bool) if clip_norm is None else norms > clip_norm,
            "data_seconds": waiting * seconds,
            "step_seconds": seconds,
        }
    )


def tables(given: dict[int, pl.DataFrame], arms: str = "a", **others) -> Tables:
    trials = pl.DataFrame(
        {
            "trial": list(given),
            "arm": [arms[place % len(arms)] for place in range(len(given))],
            "status": "complete",
            "objective": [0.1 * place for place in range(len(given))],  # the first is the best
            **others,
        }
    )
    return Tables(trials, Objective(), steps=given, max_steps=2000)


def codes(found) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in found]


def test_the_threshold_is_the_90th_percentile_of_the_best_trials_norms():
    many = {trial: steps(trial) for trial in range(8)}
    found = clipping.find(tables(many))
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
    given = tables({trial: steps(trial, clip_norm=clip_norm) for trial in range(3)}, clip_norm=[clip_norm] * 3)
    found = clipping.find(given)
    assert (("clipping_aggressive", "problem") in codes(found)) == aggressive
    if aggressive:
        assert f"clip_norm={clip_norm}" in found[0].message


def test_each_arm_has_its_threshold():
    found = clipping.find(tables({trial: steps(trial) for trial in range(6)}, arms="ab"))
    assert [each.arm for each in found] == ["a", "b"]
    assert found[0].trials == (0, 2, 4)


@pytest.mark.parametrize(
    ("waiting", "severities"), [(0.01, []), (0.15, []), (0.3, ["advice"]), (0.45, ["advice"]), (0.8, ["problem"])]
)
def test_waiting_for_data_counts_by_its_share_of_the_step(waiting, severities):
    found = input_bound.find(tables({trial: steps(trial, waiting=waiting) for trial in range(4)}))
    assert [each.severity for each in found] == severities
    for each in found:
        assert each.evidence["median_share"] == pytest.approx(waiting)
        assert each.next[0].changes == {"data.in_memory": True}


def test_slow_first_steps_and_a_few_slow_ones_do_not_count():
    table = steps(waiting=0.02)
    slow = (pl.col("step") < 10) | (pl.col("step") % 5 == 0)
    waiting = table.with_columns(
        pl.when(slow).then(pl.col("step_seconds")).otherwise("data_seconds").alias("data_seconds")
    )
    assert input_bound.share(waiting) == pytest.approx(0.02)
    assert input_bound.share(table.head(19)) is None
    assert input_bound.find(tables({0: table.head(5)})) == []


def test_an_instability_between_the_evaluations_is_seen_in_the_steps():
    early = pl.when(pl.col("step").is_between(60, 110)).then(pl.col("loss") + 2).otherwise("loss").alias("loss")
    calm, wild = {0: steps()}, {0: steps().with_columns(early)}
    assert train_loss_rising.find(tables(calm)) == []
    found = train_loss_rising.find(tables(wild))
    assert codes(found) == [("train_loss_rising", "advice")]
    first = found[0].evidence["trials"][0]
    assert 20 <= first["from_step"] <= 60 <= first["to_step"] <= 120
    assert found[0].next[0].changes == {"warmup_steps": 100}


def test_one_wild_step_is_no_instability():
    spike = pl.when(pl.col("step") == 900).then(1e17).otherwise("loss").alias("loss")
    assert train_loss_rising.find(tables({0: steps().with_columns(spike)})) == []


def test_a_loss_that_is_not_finite_at_the_end_has_risen():
    values = [*np.exp(-np.arange(30) / 5), *[float("nan")] * 3]
    curves = pl.DataFrame(
        {"trial": 0, "step": range(33), "metric": "train/loss", "value": values},
        schema_overrides={"trial": pl.Int64(), "step": pl.Int64()},
    )
    given = tables({0: steps()})
    found = train_loss_rising.find(Tables(given.trials, given.objective, curves))
    assert codes(found) == [("train_loss_rising", "problem")]
    assert "not finite" in found[0].message
