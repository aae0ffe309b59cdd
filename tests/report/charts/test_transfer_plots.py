"""The charts of the drift of lr* hold the trials and the answers that the finding gives."""

import pytest
from synthetic_tables import study, together

from playbook.analysis.rules.transfer import transfers
from playbook.report.charts.transfer_plots import transfer_plots
from playbook.study.space import Choice, Float

SIZES = (32, 128, 512)


def test_a_valley_a_size_and_the_drift_of_its_bottom():
    lr = Float(1e-4, 1.0, "log")
    arms = [
        study(
            10,
            {"lr": lr, "model.width": Choice((size,))},
            lambda at: 0.1 + (at["lr"] - 0.5) ** 2,
            seed=size,
            noise=0.001,
            arm=f"model.width={size}",
        )
        for size in SIZES
    ]
    tables = together(*arms, scientific=("model.width",))
    valleys, drift = transfer_plots(tables)
    assert [chart.datasets for chart in (valleys, drift)] == [sorted(valleys.data), sorted(drift.data)]
    assert {row["trial"] for row in valleys.data["valleys_0"]} == set(tables.trials["trial"])
    (found,) = transfers(tables)
    (rows,) = drift.data.values()
    assert [(row["size"], row["lr"]) for row in rows] == [(each.size, each.lr) for each in found.best]
    assert [row["lr"] for row in valleys.data["valleys_0_best"]] == [each.lr for each in found.best]
    assert all(row["low"] <= row["lr"] <= row["high"] for row in rows)
    assert found.verdict in drift.caption
    assert [row["lr"] for row in rows] == pytest.approx([1e-2] * 3, rel=0.3)


def test_a_study_of_one_size_has_none():
    lr = Float(1e-4, 1.0, "log")
    assert transfer_plots(study(10, {"lr": lr}, lambda at: at["lr"])) == []
