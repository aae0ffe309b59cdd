"""Where things are drawn: hyperparameters on their own axes, objectives on one that holds what matters."""

import math
from dataclasses import replace

import polars as pl
import pytest
from ended_study import ARMS, PLAIN, begin, end
from hypothesis import given
from hypothesis import strategies as st

from playbook.analysis.tables import Tables, conditions, tables_of
from playbook.report.charts.axes import axes
from playbook.report.charts.isolation_plots import isolation_plots
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.ticks import MOST, log_ticks
from playbook.report.charts.trial_rows import trial_rows
from playbook.study.design import Objective
from playbook.study.load import column, load_record
from playbook.study.space import Choice, Float


def tables(space, values):
    trials = pl.DataFrame(
        {"trial": range(len(values)), "arm": "all", "status": "complete", "objective": 1.0, "x": values}
    )
    return Tables(trials, Objective(), space={"all": {"x": space}})


def test_what_is_judged_to_have_failed_is_a_cross_as_what_diverged():
    found = tables(Float(0.0, 1.0), [0.1, 0.2, 0.3, 0.4])
    objectives = pl.Series("objective", [0.1, 0.2, 0.899, None])
    status = pl.Series("status", ["complete"] * 3 + ["infeasible"])
    found = replace(found, trials=found.trials.with_columns(objectives, status), chance=0.9)
    rows = trial_rows(found, axes(found), objective_axis([0.1, 0.2, 0.899], "min"))
    assert [row["kind"] for row in rows] == ["best", "trial", "infeasible", "infeasible"]
    assert [row["objective"] for row in rows] == [0.1, 0.2, 0.899, None]


def test_a_conditional_hyperparameter_has_an_axis_for_each_condition(tmp_path):
    end(tmp_path, ARMS, begin(tmp_path, ARMS, 16))
    study = load_record(tmp_path)
    found = {(axis.key, axis.where) for axis in axes(tables_of(study), conditions(study))}
    assert ("lr", "optimizer=adam") in found
    assert ("lr", "optimizer=momentum") in found
    assert ("model.width", "") in found  # the same in every arm
    assert ("optimizer", "") in found


def test_an_axis_has_its_range_on_its_scale(tmp_path):
    end(tmp_path, PLAIN, begin(tmp_path, PLAIN, 8))
    lr, dropout = axes(tables_of(load_record(tmp_path)))
    assert (lr.scale, lr.low, lr.high) == ("log", 1e-4, 1.0)
    assert (dropout.scale, dropout.low, dropout.high) == ("linear", 0.0, 0.5)
    assert lr.vega_scale()["type"] == "log"


def test_log_one_minus_is_drawn_as_what_is_left_to_one():
    (axis,) = axes(tables(Float(0.5, 0.999, "log_one_minus"), [0.9, 0.99]))
    assert axis.place(0.99, 0) == pytest.approx(0.01)
    assert axis.place(1.0, 0) is None  # it has no place on a log axis
    assert axis.vega_scale()["reverse"]
    assert axis.vega_scale()["domain"] == pytest.approx([0.001, 0.5])


def test_trials_of_a_choice_stay_near_their_place_and_apart():
    (axis,) = axes(tables(Choice((None, "relu", True, 1, [64])), [None]))
    for index, value in enumerate((None, "relu", True, 1, [64])):
        places = [axis.place(value, trial) for trial in range(50)]
        assert all(abs(place - index) < 0.3 for place in places)
        assert len(set(places)) > 40
    assert round(axis.place("[64]", 0)) == 4  # as a table holds it
    assert axis.place("gelu", 0) is None


def test_a_grid_of_numbers_over_decades_is_a_log_axis():
    (axis,) = axes(tables(Choice((0.001, 0.01, 0.1, 1)), [0.01]))
    assert (axis.scale, axis.low, axis.high) == ("log", 0.001, 1.0)
    (axis,) = axes(tables(Choice((16, 32, 64)), [16]))
    assert axis.scale == "linear"


@given(st.floats(1e-12, 1e12), st.floats(1.01, 1e12))
def test_log_ticks_are_few_and_inside(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert len(ticks) <= MOST
    assert ticks == sorted(ticks)
    assert all(low * (1 - 1e-6) <= tick <= low * ratio * (1 + 1e-6) for tick in ticks)
    if ratio >= 10:
        assert ticks


finite = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@given(st.lists(finite, min_size=1, max_size=50), st.sampled_from(["min", "max"]))
def test_the_best_is_inside_and_every_trial_has_a_place(values, mode):
    axis = objective_axis(values, mode)
    best = min(values) if mode == "min" else max(values)
    assert axis.low < axis.high
    assert not axis.is_beyond(best)
    assert all(axis.low <= axis.place(value) <= axis.high for value in [*values, None, math.nan])
    assert axis.place(None) == (axis.high if mode == "min" else axis.low)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("monster", [1e17, math.inf, math.nan])
def test_one_monster_does_not_press_the_others_into_a_line(mode, monster):
    sign = 1 if mode == "min" else -1
    ordinary = [sign * (0.2 + 0.01 * place) for place in range(20)]
    axis = objective_axis([*ordinary, sign * monster], mode)
    assert abs(axis.high - axis.low) < 5 * abs(ordinary[-1] - ordinary[0])
    assert not any(axis.is_beyond(value) for value in ordinary)
    if math.isfinite(monster):
        assert axis.is_beyond(sign * monster)


@pytest.mark.parametrize("values", [(None, 1.0, 5.0), (0, 0.01), ([8], [16]), (True, False), (None, "a"), (1, "a")])
def test_an_isolation_plot_has_every_value_of_a_list(values):
    of_trials = [values[trial % len(values)] for trial in range(12)]
    frame = pl.DataFrame(
        {"trial": range(12), "arm": "all", "status": "complete", "objective": [1.0 + n for n in range(12)]}
    )
    frame = frame.with_columns(column(of_trials).alias("k"), x=pl.col("objective") / 100)
    tables = Tables(frame, Objective(), space={"all": {"k": Choice(values), "x": Float(0.0, 1.0)}})
    (chart,) = isolation_plots(tables, [axis for axis in axes(tables) if axis.key == "k"])
    (rows,) = chart.data.values()
    assert [row["trials"] for row in rows] == [12 // len(values)] * len(values)
    assert sorted(row["best"] for row in rows) == [1.0 + place for place in range(len(values))]


@pytest.mark.parametrize("scale", ["linear", "log", "log_one_minus"])
def test_an_isolation_plot_has_its_dots_at_the_best_trials(scale):
    values = [0.01 + 0.03 * place for place in range(32)]
    frame = pl.DataFrame({"trial": range(32), "arm": "all", "status": "complete", "k": values})
    frame = frame.with_columns(objective=(pl.col("k") - 0.3).abs())
    tables = Tables(frame, Objective(), space={"all": {"k": Float(0.01, 0.99, scale)}})
    (chart,) = isolation_plots(tables, axes(tables))
    (rows,) = chart.data.values()
    assert len(rows) > 1
    for row in rows:
        at = 1 - row["at"] if scale == "log_one_minus" else row["at"]
        assert at == pytest.approx(values[row["trial"]], rel=1e-5)
