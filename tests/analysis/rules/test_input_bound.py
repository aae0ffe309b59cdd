"""How much of a step is spent waiting for data."""

import polars as pl
import pytest
from synthetic_steps import steps, tables_of_steps

from playbook.analysis.rules import input_bound


@pytest.mark.parametrize(
    ("waiting", "severities"), [(0.01, []), (0.15, []), (0.3, ["advice"]), (0.45, ["advice"]), (0.8, ["problem"])]
)
def test_waiting_for_data_counts_by_its_share_of_the_step(waiting, severities):
    found = input_bound.find(tables_of_steps({trial: steps(trial, waiting=waiting) for trial in range(4)}))
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
    assert input_bound.find(tables_of_steps({0: table.head(5)})) == []
