"""The best for each value, against a loop over the trials."""

import itertools
import math

import numpy as np
import polars as pl
import pytest
from synthetic_tables import study, tables, together

from playbook.analysis.isolation import isolation, num_buckets
from playbook.study.space import Choice, Float, Int

SPACE = {"lr": Float(1e-4, 1e-1, "log"), "optimizer.momentum": Float(0.5, 0.99, "log_one_minus")}


@pytest.mark.parametrize("key", SPACE)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_buckets_are_even_on_the_scale_and_hold_every_trial(key, mode):
    found = study(60, SPACE, lambda at: at[key], noise=0.3, mode=mode, infeasible=lambda at: at["lr"] > 0.8)
    rows = isolation(found, key)
    dimension = SPACE[key]
    ends = [dimension.position(each) for each in [*rows["low"], rows["high"][-1]]]
    assert ends == pytest.approx(list(np.linspace(0, 1, num_buckets(60) + 1)))
    assert rows["trials"].sum() == 60
    assert rows["infeasible"].sum() == found.trials["objective"].null_count()
    for row in rows.iter_rows(named=True):
        inside = found.trials.filter((pl.col(key) >= row["low"]) & (pl.col(key) <= row["high"]))
        feasible = inside.drop_nulls("objective")
        best = feasible.sort("objective", descending=mode == "max")
        assert row["trials"] == len(inside)
        assert row["best"] == (best["objective"][0] if len(best) else None)
        assert row["trial"] == (best["trial"][0] if len(best) else None)
        assert row["median"] == pytest.approx(feasible["objective"].median())


@pytest.mark.parametrize(("num_trials", "count"), [(3, 2), (12, 2), (30, 5), (71, 11), (10_000, 12)])
def test_the_number_of_buckets_follows_from_the_trials(num_trials, count):
    assert num_buckets(num_trials) == count


def test_values_of_a_list_in_order_and_the_arms_of_a_scientific_one():
    space = {"model.depth": Choice((8, 2, 4)), "model.activation": Choice(("tanh", "relu"))}
    columns = {"model.depth": [8, 2, 4, 2], "model.activation": ["tanh", "relu", "tanh", "relu"]}
    found = tables([0.3, None, 0.1, 0.4], columns, space)
    assert isolation(found, "model.depth")["label"].to_list() == ["2", "4", "8"]
    assert isolation(found, "model.depth")["best"].to_list() == [0.4, 0.1, 0.3]
    assert isolation(found, "model.activation").select("label", "best", "infeasible").rows() == [
        ("tanh", 0.1, 0),
        ("relu", 0.4, 1),
    ]
    both = together(
        tables([0.2, 0.5], {"optimizer": ["adam", "adam"]}, {}, arm="optimizer=adam"),
        tables([0.4, 0.3], {"optimizer": ["sgd", "sgd"]}, {}, arm="optimizer=sgd"),
    )
    assert isolation(both, "optimizer").select("label", "best", "trial").rows() == [("adam", 0.2, 0), ("sgd", 0.3, 3)]


def test_a_conditional_hyperparameter_in_its_arm_only_and_one_that_is_not_there():
    with_it = study(20, SPACE, lambda at: at["lr"], arm="optimizer=momentum")
    without = study(20, {"lr": SPACE["lr"]}, lambda at: at["lr"], arm="optimizer=sgd")
    found = together(with_it, without)
    assert isolation(found, "optimizer.momentum")["trials"].sum() == 20
    assert isolation(found, "lr")["trials"].sum() == 40
    assert isolation(found, "lr", "optimizer=sgd")["trials"].sum() == 20
    assert len(isolation(found, "model.width")) == 0


def test_few_whole_numbers_are_values_and_many_are_buckets():
    space = {"model.depth": Int(1, 3), "model.width": Int(16, 1024, "log")}
    found = study(36, space, lambda at: at["model.depth"])
    assert isolation(found, "model.depth")["label"].to_list() == ["1", "2", "3"]
    widths = isolation(found, "model.width")
    assert len(widths) == 6
    assert widths["trials"].sum() == 36


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_null_band_against_every_way_in_which_the_trials_could_lie(mode):
    """Of all ways to lay 7 trials, 2 of them infeasible, into buckets of 3 and 4."""
    losses = [0.1, 0.2, 0.3, 0.5, 0.8, np.inf, np.inf]
    sign = 1 if mode == "min" else -1
    objective = [sign * each if np.isfinite(each) else None for each in losses]
    found = tables(objective, {"k": list("aaabbbb")}, {"k": Choice(("a", "b"))}, mode=mode)
    outside = (1 - 0.9**0.5) / 2
    for row in isolation(found, "k").iter_rows(named=True):
        bests = np.sort([min(each) for each in itertools.combinations(losses, row["trials"])])
        ends = [bests[math.ceil(p * len(bests) - 1e-9) - 1] for p in (outside, 1 - outside)]
        wanted = sorted(sign * each for each in ends)
        assert [row["null_low"], row["null_high"]] == [each if np.isfinite(each) else None for each in wanted]


def test_what_does_nothing_lies_within_its_null_bands_in_nine_studies_of_ten():
    inside = []
    for seed in range(200):
        rows = isolation(study(72, SPACE, lambda at: np.zeros(72), noise=1.0, seed=seed), "lr")
        inside.append((rows["best"].is_between(rows["null_low"], rows["null_high"])).all())
    assert 0.85 <= np.mean(inside) <= 0.99
    matters = isolation(study(72, SPACE, lambda at: (at["lr"] - 0.5) ** 2, noise=0.01), "lr")
    assert not matters["best"].is_between(matters["null_low"], matters["null_high"]).all()
    assert isolation(tables([0.1, 0.2], {"k": [1, 1]}, {"k": Choice((1, 2))}), "k")["null_low"].to_list() == [None]
