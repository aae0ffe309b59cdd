"""The curves of many trials as one rectangle hold what the table holds, without what would mislead."""

import math

import numpy as np
import polars as pl
import pytest

from playbook.analysis.curves.noise import noise
from playbook.analysis.curves.rectangle import (
    Thresholds,
    best_first,
    condensed,
    leading,
    lower_rms,
    of_metric,
    quantum,
)
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import Objective


def tables(curves: dict[int, list[float | None]], mode: str = "min", status: str = "complete") -> Tables:
    rows = [(trial, 10 * i, "val/error", value) for trial, values in curves.items() for i, value in enumerate(values)]
    trials = pl.DataFrame({"trial": list(curves), "arm": "all", "status": status, "objective": [0.1] * len(curves)})
    shuffled = pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row").sample(fraction=1, shuffle=True, seed=1)
    return Tables(trials, Objective("val/error", mode), shuffled)


def test_rows_are_the_curves_of_the_table_in_any_order_and_length():
    rng = np.random.default_rng(0)
    curves = {trial: rng.normal(size=count).tolist() for trial, count in [(3, 7), (5, 20), (8, 5), (11, 4)]}
    found = of_metric(tables(curves, "max"), "val/error")
    assert found.trials.tolist() == [3, 5, 8]  # four evaluations say nothing
    for trial, steps, values, length in zip(found.trials, found.steps, found.values, found.lengths, strict=True):
        assert length == len(curves[trial])
        assert steps[:length].tolist() == [10.0 * i for i in range(length)]
        assert values[:length].tolist() == [-value for value in curves[trial]]  # lower is better
        assert np.isnan(values[length:]).all()
    assert found.last_steps.tolist() == [60, 190, 40]


def test_what_is_not_finite_is_left_out_and_an_end_that_is_not_is_known():
    found = of_metric(tables({0: [3, math.nan, 2, None, 1, 0, 5, 4], 1: [1, 2, 3, 4, 5, 6, math.inf]}), "val/error")
    assert found.steps[0, :6].tolist() == [0, 20, 40, 50, 60, 70]
    assert found.broken.tolist() == [False, True]


def test_of_a_step_that_is_there_twice_the_last_row_counts():
    given = tables({0: [5, 4, 3, 2, 1]})
    again = pl.DataFrame([(0, 20, "val/error", 9.0)], schema=CURVE_COLUMNS, orient="row")
    doubled = Tables(given.trials, given.objective, pl.concat([given.curves.sort("step"), again]))
    assert of_metric(doubled, "val/error").values.tolist() == [[5, 4, 9, 2, 1]]


def test_crashed_trials_and_other_metrics_have_no_rows():
    assert len(of_metric(tables({0: [1.0] * 9}, status="crashed"), "val/error")) == 0
    assert len(of_metric(tables({0: [1.0] * 9}), "val/loss")) == 0


@pytest.mark.parametrize("monster", [1e17, -1e17, 1e99])
@pytest.mark.parametrize("place", [2, 9, 17, 28, 29])
def test_a_monster_is_replaced_by_its_neighbours_and_nothing_else_is_touched(monster, place):
    rng = np.random.default_rng(2)
    curve = np.exp(-np.arange(30) / 5) + 0.01 * rng.standard_normal(30)
    values = curve.copy()
    values[place] = monster
    found = of_metric(tables({0: values.tolist()}), "val/error").values[0]
    assert abs(found[place] - curve[place]) < 0.2
    assert np.delete(found, place).tolist() == np.delete(values, place).tolist()


def test_the_first_evaluation_may_be_far_from_the_others():
    curve = [1e6, 2.0, 1.9, 1.8, 1.85, 1.7, 1.72, 1.6, 1.6, 1.5]
    assert of_metric(tables({0: curve}), "val/error").values[0].tolist() == curve


def test_condensed_points_are_means_of_neighbours_and_short_curves_stay():
    rng = np.random.default_rng(3)
    curves = {0: rng.normal(size=200).tolist(), 1: rng.normal(size=50).tolist()}
    found = of_metric(tables(curves), "val/error")
    points = condensed(found, 64)
    assert points.lengths.tolist() == [64, 50]
    blocks = [[i for i in range(200) if i * 64 // 200 == block] for block in range(64)]
    for block, members in enumerate(blocks):
        assert points.values[0, block] == pytest.approx(np.mean(found.values[0, members]))
        assert points.steps[0, block] == pytest.approx(np.mean(found.steps[0, members]))
    assert points.values[1, :50].tolist() == found.values[1, :50].tolist()


def test_windows_are_shares_of_the_steps_with_at_least_so_many_evaluations():
    found = of_metric(tables({0: [1.0] * 31, 1: [1.0] * 7}), "val/error")
    assert np.flatnonzero(found.after(2 / 3)[0]).tolist() == list(range(21, 31))
    assert np.flatnonzero(found.after(2 / 3)[1]).tolist() == [2, 3, 4, 5, 6]
    assert np.flatnonzero(found.up_to(0.5)[0]).tolist() == list(range(1, 16))


@pytest.mark.parametrize("share", [0.75, 0.5])
def test_the_lower_rms_is_a_normals_standard_deviation_whatever_the_other_values_are(share):
    rng = np.random.default_rng(4)
    sample = np.abs(rng.normal(scale=3.0, size=(1, 40_000)))
    assert lower_rms(sample, share)[0] == pytest.approx(3.0, rel=0.03)
    one_in_five = np.where(rng.random(sample.shape) < 0.2, 1e9, sample)
    assert lower_rms(one_in_five, share)[0] < 2 * 3.0
    assert np.isnan(lower_rms(np.full((1, 3), np.nan), share)[0])


@pytest.mark.parametrize("course", [lambda x: 0 * x, lambda x: 5 * x, lambda x: np.exp(-8 * x)])
def test_the_noise_is_that_around_any_smooth_course(course):
    rng = np.random.default_rng(5)
    x = np.linspace(0, 1, 400)
    values = course(x) + 0.2 * rng.standard_normal((40, 400))
    everywhere = np.ones_like(values, dtype=bool)
    assert noise(values, everywhere).mean() == pytest.approx(0.2, rel=0.04)
    assert np.isnan(noise(values, x > 0.995)).all()  # two points


def test_the_noise_is_not_below_what_a_counted_metric_can_show():
    values = np.tile(np.repeat([0.1, 0.2], [38, 2]), (1, 1))
    assert quantum(values)[0] == pytest.approx(0.1)
    assert noise(values, np.ones_like(values, dtype=bool))[0] == pytest.approx(0.03)


def ranked(verdicts: list[bool], hints: list[bool]) -> pl.DataFrame:
    return pl.DataFrame({"trial": range(len(verdicts)), "bad": verdicts, "hint": hints})


def test_the_best_trial_has_a_verdict_or_most_of_five_have_hints():
    yes, no = True, False
    assert leading(ranked([yes, no, no], [yes, no, no]), "bad")["trial"].to_list() == [0]
    assert leading(ranked([no, yes, yes, no, no], [no, yes, yes, no, no]), "bad") is None
    assert leading(ranked([no] * 5, [no, yes, yes, yes, no]), "bad")["trial"].to_list() == [1, 2, 3]
    assert leading(ranked([no] * 2, [yes] * 2), "bad") is None  # two are too few to vote
    assert leading(ranked([no] * 9, [no] * 3 + [yes] * 6), "bad") is None
    assert Thresholds.best == 5


def test_arms_come_with_their_rows_best_first():
    trials = pl.DataFrame(
        {
            "trial": [0, 1, 2, 3, 4],
            "arm": ["b", "a", "b", "a", "c"],
            "status": ["complete"] * 4 + ["crashed"],
            "objective": [0.3, 0.2, 0.1, 0.4, 0.5],
        }
    )
    numbers = pl.DataFrame({"trial": [3, 2, 1, 0, 4], "x": [3, 2, 1, 0, 4]})
    found = {arm: rows["x"].to_list() for arm, rows in best_first(Tables(trials, Objective()), numbers)}
    assert found == {"b": [2, 0], "a": [1, 3]}
