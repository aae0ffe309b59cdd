"""Of very many arms the best are drawn, and no two of those have one colour."""

from dataclasses import replace

import polars as pl

from playbook.analysis.tables import Tables
from playbook.report.charts.arms import best_first, colours, drawn
from playbook.report.charts.axes import MOST_GROUPS, axes
from playbook.report.charts.best_of_n_plot import best_of_n_plots
from playbook.report.charts.importance_plot import importance_plot
from playbook.report.charts.palette import QUIET, SERIES
from playbook.study.design import Objective
from playbook.study.space import Float

NUM_ARMS, OF_EACH = 20, 12


def twenty_arms() -> Tables:
    """Each arm is better than the one before it, and its trials hang on x."""
    number = pl.int_range(NUM_ARMS * OF_EACH)
    trials = pl.select(trial=number, arm=pl.format("arm{}", number // OF_EACH), status=pl.lit("complete"))
    x = (pl.col("trial") % OF_EACH + 1) / 12
    trials = trials.with_columns(x=x, objective=50.0 - pl.col("trial") // OF_EACH + x)
    return Tables(trials, Objective(), space={arm: {"x": Float(0.0, 1.0)} for arm in trials["arm"].unique()})


def test_the_winner_is_drawn_though_it_comes_last():
    tables = twenty_arms()
    (together, *alone) = best_of_n_plots(tables)
    arms = {row["arm"] for row in together.data["best_of_n"]}
    assert arms == {f"arm{place}" for place in range(NUM_ARMS - len(SERIES), NUM_ARMS)}
    assert len(alone) == len(SERIES)
    assert together.caption.endswith(f"The best {len(SERIES)} of {NUM_ARMS} arms.")
    (importance,) = importance_plot(tables)
    assert "arm19" in {row["arm"] for row in importance.data["importance"]}


def test_the_best_have_a_colour_each_and_the_others_none():
    tables = twenty_arms()
    of = colours(tables)
    assert best_first(tables)[:2] == ("arm19", "arm18")
    assert sorted(of[arm] for arm in drawn(tables)) == sorted(SERIES)
    assert {of[arm] for arm in tables.arms if arm not in drawn(tables)} == {QUIET}


def test_few_arms_keep_their_colours_in_order_of_appearance():
    tables = twenty_arms()
    few = Tables(tables.trials.head(3 * OF_EACH), Objective())
    assert colours(few) == dict(zip(("arm0", "arm1", "arm2"), SERIES, strict=False))
    assert drawn(few) == ("arm0", "arm1", "arm2")


def test_of_a_hyperparameter_with_a_range_in_each_arm_the_best_are_drawn():
    tables = twenty_arms()
    space = {f"arm{place}": {"x": Float(0.0, 1.0 + place)} for place in range(NUM_ARMS)}
    found = axes(replace(tables, space=space))
    assert [axis.where for axis in found] == [f"arm{place}" for place in range(NUM_ARMS - MOST_GROUPS, NUM_ARMS)]
    assert [axis.caption for axis in found if axis.caption] == [f"The best {MOST_GROUPS} of {NUM_ARMS} are drawn."]


def test_a_band_goes_to_the_end_of_the_axis_where_the_trials_do_not_say():
    (together, *_) = best_of_n_plots(twenty_arms())
    low, high = together.specification["layer"][-1]["encoding"]["y"]["scale"]["domain"]
    rows = together.data["best_of_n"]
    assert any(row["band_low"] is None for row in rows)
    for row in rows:
        assert low <= row["band_from"] <= row["band_to"] <= high
        assert row["band_low"] is not None or row["band_from"] == low
        assert row["band_high"] is not None or row["band_to"] == high
