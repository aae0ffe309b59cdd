"""The picture of a run shows what the tables hold."""

import json
import math
import random

import polars as pl
import pytest

from playbook.report.charts.run_curves import run_curves, thinned


def steps_table(count: int, spike_at: int) -> pl.DataFrame:
    random.seed(0)
    losses = [1 / (1 + step) + 0.01 * random.random() for step in range(count)]
    losses[spike_at] = 1e6
    norms = [math.sqrt(loss) for loss in losses]
    return pl.DataFrame({"step": range(count), "loss": losses, "grad_norm": norms, "lr": [0.1] * count})


EVALS = pl.DataFrame(
    {
        "step": [0, 0, 500, 500, 1000, 1000],
        "metric": ["val/error", "val/loss"] * 3,
        "value": [0.9, 2.3, 0.1, 0.4, 0.2, math.nan],
    }
)


@pytest.mark.parametrize("count", [10, 999, 12_345])
def test_thinning_keeps_extremes_order_and_size(count):
    table = steps_table(count, spike_at=count // 3)
    thin = thinned(table, 1000)
    assert thin["step"].is_sorted()
    assert thin["step"].is_unique().all()
    assert len(thin) <= 1500
    assert thin["loss"].max() == 1e6
    assert thin["loss"].min() == table["loss"].min()
    if count <= 1000:
        assert thin.equals(table)


def test_the_chart_holds_the_best_evaluation_chance_and_the_threshold():
    chart = run_curves(steps_table(1000, 7), EVALS, title="a run", best_step=500, chance=0.9, clip_norm=2.0)
    specification = json.dumps(chart.to_dict())
    for shown in ('"label": "chance"', '"label": "clip_norm"', '"value": 2.0'):
        assert shown in specification
    datasets = chart.to_dict()["datasets"].values()
    assert [{"step": 500, "value": 0.1, "curve": "validation"}] in list(datasets)  # the star
    assert not any(isinstance(v, float) and math.isnan(v) for rows in datasets for row in rows for v in row.values())


def test_a_run_that_has_just_begun_can_be_drawn(tmp_path):
    empty = steps_table(3, 0).clear()
    run_curves(empty, EVALS.clear(), title="nothing yet").save(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
