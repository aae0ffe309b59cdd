"""Whether more trials would find better ones: said where they would, not where nothing differs, else unknown."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_tables import grid_of_seeds, study, tables
from verdicts_of_studies import EACH_DRAW, Case, a_study, check_verdicts

from playbook.analysis.rules.few_trials import find, sampling
from playbook.analysis.tail import forecast
from playbook.study.space import Choice, Float

SPACE = {"lr": Float(1e-4, 1e-1, "log")}


def test_sampling_counts_by_hand():
    found = sampling(tables([0.0, 0.2, 1.0, 1.0, 1.0, None], {"lr": [0.1] * 6}, SPACE), "all")
    assert (found.num_trials, found.feasible, found.good) == (6, 5, 2)


def test_a_parabola_that_was_seen_through_is_silent_and_eight_trials_cannot_tell():
    assert find(study(200, SPACE, lambda at: (at["lr"] - 0.5) ** 2, noise=0.01)) == []
    (few,) = find(study(8, {f"k{i}": Float(0, 1) for i in range(6)}, lambda at: sum(u**2 for u in at.values())))
    assert (few.code, few.rule) == ("few_trials", "B6")
    assert few.next[0].changes == {"study.n_trials": 16}
    (none,) = find(tables([0.1, 0.2], {"lr": [0.1, 0.2]}, SPACE))
    assert (none.severity, none.evidence["gain"], none.evidence["verdict"]) == ("info", None, "cannot tell")


def test_where_nothing_differs_more_trials_will_not_help():
    for seed in range(10):
        found = study(40, {"lr": SPACE["lr"], "k": Float(0, 1)}, lambda at: np.zeros(40), noise=1.0, seed=seed)
        assert all(each.severity == "info" for each in find(found))
    luck = np.random.default_rng(0).normal(size=(8, 5))
    lrs = [float(lr) for lr in np.geomspace(0.001, 1.0, 8)]
    repeated = grid_of_seeds(lrs, [0, 1, 2, 3, 4], lambda lr, seed: 10 + luck[lrs.index(lr), seed])
    (finding,) = find(repeated)
    assert (finding.severity, finding.evidence["verdict"], finding.next) == ("info", "equal", ())
    assert "will not find better" in finding.message


def test_the_forecast_of_a_law_that_is_known():
    """Of 64 uniform draws, 64 more take off what the integral says; more of them take off more."""
    gains, known = [], []
    for seed in range(40):
        loss = np.random.default_rng(seed).random(64)
        gains.append(forecast(loss, 64, (1e-3,)).mean)
        known.append(loss.min() - (1 - (1 - loss.min()) ** 65) / 65)
    assert 0.5 <= np.mean(gains) / np.mean(known) <= 2
    loss = np.random.default_rng(0).random(64)
    few, many = forecast(loss, 64, (1e-3,)), forecast(loss, 640, (1e-3,))
    assert few.mean < many.mean
    assert few.quantile(0.1) <= few.quantile(0.9)
    assert few.over(-1.0) == pytest.approx(1.0)
    assert forecast(np.zeros(20), 20, (1.0,)) is None


@pytest.mark.parametrize("lrs", [(0.01,), (0.01, 0.03, 0.1)])
def test_where_everything_was_tried_there_is_nothing_more_to_try(lrs):
    tables = grid_of_seeds(list(lrs), [0, 1, 2], lambda lr, seed: lr * (1 + seed))
    whole = replace(tables, space={"all": {"lr": Choice(lrs), "seed": Choice((0, 1, 2))}})
    assert find(whole) == []
    assert find(tables)  # of a continuum there is always more


def few_trials(rng, fault: bool) -> Case:
    """Five to eight trials of many hyperparameters are few or cannot tell; 80 and more of one to three are enough."""
    num_trials = int(rng.integers(5, 9)) if fault else int(rng.integers(80, 250))
    dimensions = int(rng.integers(4, 7)) if fault else int(rng.integers(1, 4))
    tables = a_study(rng, num_trials, dimensions, lr=rng.uniform(0.3, 0.7), loudest=0.15)
    return Case(tables, find, fault, lambda finding: fault or finding.severity != "info")


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(few_trials, seed)
