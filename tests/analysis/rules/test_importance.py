"""What explains the order of the trials, against regressions of scipy and shuffles of its own."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.stats import f_oneway, rankdata
from synthetic_tables import a_space, study, tables, together
from verdicts_of_studies import EACH_DRAW, Case, check_verdicts, with_monsters

from playbook.analysis.rules.importance import METHOD, find, holm, importance
from playbook.study.space import Choice, Float

FIVE = {f"k{i}": Float(0, 1) for i in range(5)}


def shares(found, arm="all"):
    return {each.key: each.share for each in importance(found, arm)}


def test_the_share_of_a_range_is_what_its_curve_explains_beside_the_others():
    found = study(60, FIVE, lambda at: at["k0"] + (at["k1"] - 0.4) ** 2 + at["k2"] / 2, noise=0.1)
    ranks = rankdata(found.trials["objective"])

    def left(keys):
        powers = [found.trials[key].to_numpy() ** power for key in keys for power in (1, 2, 3)]
        fitted = np.stack([np.ones(60), *powers], axis=1)
        return np.sum((ranks - fitted @ np.linalg.lstsq(fitted, ranks, rcond=None)[0]) ** 2)

    whole, without = left(FIVE), left(key for key in FIVE if key != "k0")
    explained = (without - whole - 3 * whole / (60 - 16)) / np.sum((ranks - ranks.mean()) ** 2)
    assert shares(found)["k0"] == pytest.approx(explained, rel=1e-6)


def test_what_the_others_leave_as_noise_is_found_beside_them():
    """Of nine hyperparameters eight explain a tenth and more each: alone, none would be more than chance."""
    space = {f"k{i}": Float(0, 1) for i in range(9)}
    found = [
        {
            each.key
            for each in importance(study(100, space, lambda at: sum(at.values()), noise=0.1, seed=seed), "all")
            if each.certain
        }
        for seed in range(5)
    ]
    assert all(len(each) == 9 for each in found)


def test_a_small_share_that_few_trials_find_is_not_much_inflated():
    """A share of 2 % is found in few studies of 40 trials, and then looked several times as large."""
    found = []
    for seed in range(150):
        tables = study(40, {"k": Float(0, 1), "l": Float(0, 1)}, lambda at: at["k"] * 0.5, noise=1.0, seed=seed)
        found += [each.share for each in importance(tables, "all") if each.key == "k" and each.certain]
    assert 3 <= len(found) <= 50
    assert np.mean(found) <= 5 * 0.02


def test_intervals_hold_the_share_of_a_study_without_end():
    def loss(at):
        return at["k0"] + at["k1"] / 2

    truth = shares(study(5000, FIVE, loss, noise=0.2, seed=99))
    inside = []
    for seed in range(30):
        for each in importance(study(80, FIVE, loss, noise=0.2, seed=seed), "all"):
            assert 0 <= each.low <= each.share <= each.high <= 1
            inside += [each.low <= truth[each.key] <= each.high] if each.key in ("k0", "k1") else []
    assert np.mean(inside) >= 0.8  # 90 % intervals of 60


def test_what_matters_among_those_that_train():
    space = {"lr": Float(1e-4, 1e-1, "log"), "k": Float(0, 1), "l": Float(0, 1)}
    found = study(60, space, lambda at: at["k"], noise=0.1, infeasible=lambda at: at["lr"] > 0.3)
    among_all, trained = importance(found, "all"), importance(found, "all", "trained")
    assert among_all[0].key == "lr"
    assert [each.key for each in trained if each.certain] == ["k"]
    (finding,) = find(found)
    assert "Among those that trained: k" in finding.message
    assert set(finding.evidence["trained"]["shares"]) == set(space)
    assert importance(study(60, space, lambda at: at["k"], noise=0.1), "all", "trained") == []


def test_the_best_tenth_orders_as_optuna_does():
    """In k0 only the best tenth lies apart, k1 orders all trials: PED-ANOVA sees the first, ranks the second."""
    import optuna

    found = study(300, FIVE, lambda at: at["k1"] / 4 - (np.abs(at["k0"] - 0.5) < 0.06), noise=0.1)
    study_of_optuna = optuna.create_study()
    for row in found.trials.iter_rows(named=True):
        distributions = {key: optuna.distributions.FloatDistribution(0, 1) for key in FIVE}
        params = {key: row[key] for key in FIVE}
        study_of_optuna.add_trial(
            optuna.trial.create_trial(params=params, distributions=distributions, value=row["objective"])
        )
    theirs = optuna.importance.get_param_importances(
        study_of_optuna, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    ours = importance(found, "all", "top tenth")
    assert ours[0].key == next(iter(theirs)) == "k0"
    assert ours[0].certain
    assert sum(each.share for each in ours) == pytest.approx(1)
    assert importance(found, "all")[0].key == "k1"
    assert importance(study(40, FIVE, lambda at: at["k0"]), "all", "top tenth") == []


def test_a_hyperparameter_that_exists_in_some_trials_is_judged_among_these():
    rng = np.random.default_rng(0)
    names = ["sgd", "adam"] * 40
    beta, noise = rng.random(80), rng.normal(0, 0.05, 80)
    loss = [
        float((name == "sgd") + (b if name == "adam" else 0.0) + e)
        for name, b, e in zip(names, beta, noise, strict=True)
    ]
    columns = {"optimizer": names, "beta": [b if name == "adam" else None for name, b in zip(names, beta, strict=True)]}
    found = tables(loss, columns, {"optimizer": Choice(("sgd", "adam")), "beta": Float(0, 1)})
    both = importance(found, "all")
    assert [each.key for each in both if each.certain] == ["optimizer", "beta"]
    assert sum(each.share for each in both) <= 1
    alone = tables(loss, {"beta": columns["beta"]}, {"beta": Float(0, 1)})
    assert shares(alone)["beta"] > shares(found)["beta"]  # it stands for the optimizer too


def test_two_names_of_one_hyperparameter_are_both_found():
    k = np.random.default_rng(0).random(40)
    found = tables(list(k), {"one": list(k), "other": list(1 - k)}, {"one": Float(0, 1), "other": Float(0, 1)})
    assert all(each.certain for each in importance(found, "all"))


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})


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
