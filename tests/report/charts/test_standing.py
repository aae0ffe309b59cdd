"""Whether a trial failed and whether it stands out is one answer: in charts, tables, counts and findings (B7)."""

from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.analysis.rules import arms, infeasible
from playbook.analysis.rules.best import best
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.report.charts.axes import axes
from playbook.report.charts.isolation_plots import isolation_plots
from playbook.report.charts.objective_axis import objective_axis
from playbook.report.charts.standing import counts, standing
from playbook.report.charts.trial_rows import trial_rows
from playbook.report.page.arms_table import arms_table
from playbook.study.design import Objective
from playbook.study.space import Float

WAYS = ("works", "diverged", "rose", "chance", "crashed")


def study(ways: list[str], num_arms: int) -> Tables:
    """Trials that end in these ways, in turns of the arms. The one whose training loss rose has the best objective."""
    count = len(ways)
    status = {"diverged": "infeasible", "crashed": "crashed"}
    of_ways = {"diverged": None, "crashed": None, "rose": 0.01, "chance": 0.9}
    objective = [of_ways.get(way, 0.1 + 0.001 * place) for place, way in enumerate(ways)]
    trials = pl.DataFrame(
        {
            "trial": range(count),
            "arm": [f"arm{place % num_arms}" for place in range(count)],
            "status": [status.get(way, "complete") for way in ways],
            "objective": pl.Series(objective, dtype=pl.Float64),
            "reason": pl.Series([way if way == "diverged" else None for way in ways], dtype=pl.String),
            "lr": [0.001 * (1 + place) for place in range(count)],
        }
    )
    curves = [
        (trial, step, "train/loss", 1.0 + (step if way == "rose" else -step) / 10)
        for trial, way in enumerate(ways)
        for step in (0, 5)
        if way != "chance"
    ]
    space = {arm: {"lr": Float(0.001, 0.031)} for arm in trials["arm"].unique()}
    return Tables(
        trials, Objective(), pl.DataFrame(curves, schema=CURVE_COLUMNS, orient="row"), space=space, chance=0.9
    )


@settings(max_examples=25)
@given(st.lists(st.sampled_from(WAYS), min_size=1, max_size=30), st.integers(1, 3))
def test_one_count_of_what_failed(ways, num_arms):
    tables = study(ways, num_arms)
    failed = {place for place, way in enumerate(ways) if way in ("diverged", "rose", "chance")}
    assert set(standing(tables).failed) == failed
    rows = trial_rows(tables, axes(tables), objective_axis([0.1, 0.9], "min"))
    assert {row["trial"] for row in rows if row["kind"] == "infeasible"} == failed
    found = [each for each in infeasible.find(tables) if each.code == "infeasible_fraction"]
    assert sum(each.evidence["infeasible"] for each in found) == len(failed) == counts(tables).failed
    table = arms_table(tables, arms.find(tables))
    if table is not None:
        place = [title for title, _ in table.head].index("infeasible")
        assert sum(int(row[3][place]) for row in table.rows) == len(failed)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(WAYS), min_size=1, max_size=30))
def test_what_failed_is_no_star_whatever_its_number(ways):
    stands = standing(study(ways, 1))
    assert not {*stands.best, *stands.members, *stands.shown} & {*stands.failed}
    if "works" in ways:
        assert stands.best[0] == ways.index("works")


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("diverged", "infeasible, diverged ·"),
        ("rose", "val/error 0.01, no better than at the start, by train/loss ·"),
        ("chance", "val/error 0.9, no better than chance, by val/error ·"),
    ],
)
def test_the_tooltip_of_a_cross_says_why(way, why):
    tables = study(["works", way], 1)
    rows = trial_rows(tables, axes(tables), objective_axis([0.1, 0.9], "min"))
    assert f"trial 1: {why} lr=0.002" == rows[1]["tip"]


def test_the_winner_is_a_star_and_what_cannot_be_told_from_it_a_hollow_one():
    count = 24
    trials = pl.DataFrame({"trial": range(count), "arm": "all", "status": "complete"}).with_columns(
        lr=0.01 * (1 + pl.col("trial")), objective=0.1 + 0.01 * pl.col("trial"), objective_se=pl.lit(0.02)
    )
    tables = Tables(trials, Objective(), space={"all": {"lr": Float(0.001, 1.0)}})
    kinds = [row["kind"] for row in trial_rows(tables, axes(tables), objective_axis(trials["objective"], "min"))]
    answer = best(tables)
    assert answer.noise_from == "examples"
    assert kinds[0] == "best"
    assert {place for place, kind in enumerate(kinds) if kind == "member"} == {*answer.members[1:]}
    assert 0 < kinds.count("member") < count - 1


def test_an_isolation_plot_has_nobody_as_the_best_that_failed():
    tables = study(["works"] * 12 + ["rose"] * 3 + ["works"] * 9, 1)
    (chart,) = isolation_plots(tables, axes(tables))
    (rows,) = chart.data.values()
    assert sum(row["infeasible"] for row in rows) == 3 == len(standing(tables).failed)
    assert not {row["trial"] for row in rows} & {*standing(tables).failed}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("seed", range(3))
def test_what_an_isolation_plot_draws_lies_within_its_axis(mode, seed):
    random = Random(seed)
    values = [random.gauss(0, 1) ** 3 * 10 ** random.randint(0, 6) for _ in range(30)]  # some monstrous
    trials = pl.DataFrame({"trial": range(len(values)), "arm": "all", "status": "complete", "objective": values})
    trials = trials.with_columns(lr=(pl.col("trial") * 0.618034) % 1)
    tables = Tables(trials, Objective("val/loss", mode), space={"all": {"lr": Float(0.0, 1.0)}})
    (chart,) = isolation_plots(tables, axes(tables))
    low, high = chart.specification["layer"][-1]["encoding"]["y"]["scale"]["domain"]
    for row in next(iter(chart.data.values())):
        assert low <= row["null_from"] <= row["null_to"] <= high
        assert row["typical"] is None or low <= row["typical"] <= high
        assert low <= row["reached"] <= high
