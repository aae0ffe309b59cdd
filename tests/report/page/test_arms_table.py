"""The arms as the page lists them: what the finding says of each, the best first, and what failed as it counts."""

import polars as pl

from playbook.analysis.finding import Finding
from playbook.analysis.rules import arms
from playbook.analysis.tables import Tables
from playbook.report.page.arms_table import MOST_ROWS, arms_table
from playbook.study.design import Objective
from playbook.study.space import Float


def tables(num_arms: int) -> Tables:
    """Arms of four trials; the last one is the best, and one trial of each is at chance."""
    number = pl.int_range(4 * num_arms)
    trials = pl.select(trial=number, arm=pl.format("arm{}", number // 4), status=pl.lit("complete"))
    value = pl.when(pl.col("trial") % 4 == 3).then(0.9).otherwise(0.8 - 0.01 * pl.col("trial"))
    trials = trials.with_columns(x=pl.col("trial") / 100, objective=value)
    return Tables(
        trials, Objective(), space={arm: {"x": Float(0.0, 1.0)} for arm in trials["arm"].unique()}, chance=0.9
    )


def test_a_row_says_what_the_finding_says():
    rows = [
        {"arm": "arm0", "best": 0.78, "trial": 2, "expected": 0.79, "interval": [0.7, 0.8], "p_best": 0.04}
        | {"verdict": "cannot tell", "trials": 99, "infeasible": 99},
        {"arm": "arm1", "best": 0.74, "trial": 6, "expected": None, "interval": None, "p_best": 0.96}
        | {"verdict": "cannot tell", "trials": 99, "infeasible": 99},
    ]
    table = arms_table(tables(2), [Finding("arms", "info", "B3", "", evidence={"arms": rows})])
    assert [title for title, _ in table.head] == [
        *("trials", "infeasible", "best", "expected", "interval", "P(best)", "verdict")
    ]
    (best, other) = table.rows
    assert best[::2] == ("arm1", 6)
    assert best[3] == ("4", "1", "0.74", "–", "–", "96%", "cannot tell")
    assert other[3] == ("4", "1", "0.78", "0.79", "0.7 to 0.8", "4%", "cannot tell")


def test_the_sensitivity_to_the_learning_rate_stands_beside_the_arms():
    rows = [{"arm": f"arm{place}", "best": 0.7, "trial": place, "verdict": "cannot tell"} for place in range(2)]
    lost = Finding("lr_sensitivity", "info", "G2", "", arm="arm1", parameter="x", evidence={"of_start": 0.123})
    table = arms_table(tables(2), [Finding("arms", "info", "B3", "", evidence={"arms": rows}), lost])
    place = [title for title, _ in table.head].index("lr sensitivity")
    assert {row[0]: row[3][place] for row in table.rows} == {"arm0": "–", "arm1": "12%"}


def test_of_many_arms_the_best_are_in_sight_and_the_others_at_hand():
    many = tables(30)
    table = arms_table(many, arms.find(many))
    assert [row[0] for row in table.rows] == [f"arm{29 - place}" for place in range(MOST_ROWS)]
    assert len(table.more) == 30 - MOST_ROWS


def test_one_arm_has_no_table():
    assert arms_table(tables(1), arms.find(tables(1))) is None
