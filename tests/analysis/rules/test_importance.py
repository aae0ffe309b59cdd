"""What explains the order of the trials, against regressions of scipy and shuffles of its own."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import f_oneway, rankdata
from synthetic_tables import a_space, study, tables, together
from verdicts_of_studies import EACH_DRAW, Case, check_verdicts, with_monsters

from playbook.analysis.rules.importance import METHOD, find, importance
from playbook.study.space import Choice, Float

FIVE = {f"k{i}": Float(0, 1) for i in range(5)}


def shares(found, arm="all"):
    return {each.key: each.share for each in importance(found, arm)}


def test_the_share_of_a_range_is_the_adjusted_r_squared_of_a_parabola_on_ranks():
    found = study(20, FIVE, lambda at: at["k0"] + 0.5 * (at["k1"] - 0.4) ** 2, noise=0.1)
    ranks, x = rankdata(found.trials["objective"]), found.trials["k1"].to_numpy()
    left = ranks - np.polyval(np.polyfit(x, ranks, 2), x)
    r_squared = 1 - left @ left / np.sum((ranks - ranks.mean()) ** 2)
    assert shares(found)["k1"] == pytest.approx(max(0.0, 1 - (1 - r_squared) * 19 / 17), abs=1e-4)


def test_the_share_of_a_list_is_that_of_its_means():
    rng = np.random.default_rng(0)
    names = list("abc") * 10
    loss = np.array([{"a": 0.0, "b": 1.0, "c": 0.2}[name] for name in names]) + rng.normal(0, 0.5, 30)
    found = tables(list(loss), {"k": names}, {"k": Choice(("a", "b", "c"))})
    ranks = rankdata(loss)
    f = f_oneway(*(ranks[np.array(names) == name] for name in "abc")).statistic
    r_squared = 2 * f / (2 * f + 27)
    assert shares(found)["k"] == pytest.approx(1 - (1 - r_squared) * 29 / 27)


def test_the_order_of_importance_and_what_is_chance():
    found = study(200, FIVE, lambda at: 3 * (at["k2"] - 0.5) ** 2 + at["k4"] / 4, noise=0.05)
    first, second, *rest = importance(found, "all")
    assert (first.key, second.key) == ("k2", "k4")
    assert first.certain
    assert second.certain
    assert not any(each.certain for each in rest)


def test_monsters_and_the_scale_of_the_objective_change_nothing():
    found = study(60, FIVE, lambda at: at["k0"] + at["k1"] / 3, noise=0.02)
    worst = found.trials["objective"].rank() > 50
    monstrous = pl.when(worst).then(pl.col("objective") * 1e17).otherwise("objective")
    louder = replace(found, trials=found.trials.with_columns(objective=monstrous))
    assert shares(louder) == pytest.approx(shares(found))
    infeasible = pl.when(~worst).then("objective")
    status = pl.when(~worst).then(pl.lit("complete")).otherwise(pl.lit("infeasible"))
    failed = replace(found, trials=found.trials.with_columns(objective=infeasible, status=status))
    assert [each.key for each in importance(failed, "all")][:2] == ["k0", "k1"]


def test_chance_is_called_importance_in_one_study_of_twenty():
    certain = sum(
        any(each.certain for each in importance(study(16, FIVE, lambda at: np.zeros(16), noise=1, seed=seed), "all"))
        for seed in range(100)
    )
    assert certain <= 11  # 5 expected; 11 has a chance of 1 in 100


def test_each_arm_has_its_own_hyperparameters():
    one = study(40, FIVE, lambda at: at["k0"], arm="one")
    other = study(40, {"k9": Float(0, 1)}, lambda at: at["k9"], arm="other")
    found = find(together(one, other))
    assert [(each.arm, each.parameter, each.severity) for each in found] == [
        ("one", "k0", "info"),
        ("other", "k9", "info"),
    ]
    assert set(found[0].evidence["shares"]) == set(FIVE)
    assert found[0].evidence["method"] == METHOD
    assert METHOD in found[0].message


def test_few_trials_cannot_tell():
    (finding,) = find(study(6, FIVE, lambda at: at["k0"]))
    assert (finding.severity, finding.parameter, finding.evidence["shares"]) == ("info", None, {})
    assert "cannot tell" in finding.message
    assert importance(tables([0.5] * 20, {"k": list(np.linspace(0, 1, 20))}, {"k": Float(0, 1)}), "all") == []


def test_a_list_of_many_names_and_a_constant_say_nothing():
    columns = {"k": [f"name {i}" for i in range(20)], "c": [1.0] * 20}
    space = {"k": Choice(tuple(columns["k"])), "c": Float(0.0, 2.0)}
    assert importance(tables([float(i) for i in range(20)], columns, space), "all") == []


def what_matters(rng, fault: bool) -> Case:
    """`importance`: of four hyperparameters the lr matters, or none does."""
    num_trials, seed = int(rng.integers(20, 200)), int(rng.integers(1e6))
    best = rng.uniform(0.1, 0.9)
    tables = study(
        num_trials,
        a_space(rng, 4),
        lambda at: 2 + (at["lr"] - best) ** 2 if fault else np.full(num_trials, 2.0),
        noise=float(rng.uniform(0.005, 0.04)),
        seed=seed,
    )
    return Case(with_monsters(tables, rng, 0.05), find, fault, lambda finding: finding.parameter == "lr")


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(what_matters, seed)
