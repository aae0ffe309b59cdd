"""The best learning rate beside the unstable ones."""

from dataclasses import replace

import polars as pl
import pytest
from synthetic_tables import study, tables
from verdicts_of_studies import EACH_DRAW, Case, a_study, check_verdicts

from playbook.analysis.rules.stability_edge import find, learning_rates, stability_edge
from playbook.study.space import Choice, Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


@pytest.mark.parametrize("num_trials", [8, 40, 5000])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_best_lr_is_just_below_the_unstable_ones(num_trials, mode):
    found = study(num_trials, LR, lambda at: (at["lr"] - 0.9) ** 2, infeasible=lambda at: at["lr"] > 0.6, mode=mode)
    (finding,) = find(replace(found, max_steps=1000))
    assert (finding.code, finding.rule, finding.parameter) == ("lr_at_stability_edge", "E5", "lr")
    assert finding.severity == ("problem" if num_trials > 8 else "advice")
    assert finding.evidence["unstable_above"] == pytest.approx(1e-4 * 1000**0.6, rel=0.6)
    sweep, warmup = finding.next
    assert (sweep.what, sweep.trial) == ("trial", finding.trials[0])
    assert sweep.changes["lr"] == pytest.approx(2 * finding.evidence["best"], rel=1e-2)
    assert warmup.changes == {"warmup_steps": 50}


def test_far_below_them_is_nothing_and_neither_is_where_none_fail():
    assert find(study(40, LR, lambda at: (at["lr"] - 0.2) ** 2, infeasible=lambda at: at["lr"] > 0.7)) == []
    assert find(study(40, LR, lambda at: (at["lr"] - 0.9) ** 2)) == []


def test_out_of_memory_is_no_instability():
    found = study(40, LR, lambda at: (at["lr"] - 0.9) ** 2, infeasible=lambda at: at["lr"] > 0.6)
    reason = pl.when(pl.col("status") == "infeasible").then(pl.lit("out_of_memory")).alias("reason")
    assert find(replace(found, trials=found.trials.with_columns(reason))) == []


def test_a_survivor_within_the_unstable_region_is_at_the_edge_too():
    lrs = [1e-4, 2e-4, 1e-3, 1e-2, 3e-2, 2e-2, 2.5e-2, 4e-2, 6e-2, 7e-2, 8e-2, 1e-1]
    found = tables([0.5, 0.5, 0.4, 0.3, 0.2] + [None] * 7, {"lr": lrs}, LR)
    edge = stability_edge(found, "all", "lr")
    assert (edge.trial, edge.best) == (4, 3e-2)
    assert edge.ratio < 1
    assert len(find(found)) == 1


def test_learning_rates_by_name():
    space = {"lr": LR["lr"], "optimizer.learning_rate": LR["lr"], "lr_decay": LR["lr"], "opt.lr": Choice(("a", "b"))}
    assert learning_rates(tables([0.1], {"lr": [0.1]}, space), "all") == ["lr", "optimizer.learning_rate"]


def lr_at_stability_edge(rng, fault: bool) -> Case:
    dimensions = int(rng.integers(1, 4))
    edge = rng.uniform(0.5, 0.8)
    at = edge + rng.uniform(0.0, 0.3) if fault else rng.uniform(0.05, 0.2)
    tables = a_study(
        rng,
        int(rng.integers(14, 40)) * dimensions,
        dimensions,
        lr=at,
        loudest=0.1,
        infeasible=lambda positions: positions["lr"] > edge,
    )
    return Case(tables, find, fault)


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(lr_at_stability_edge, seed)
