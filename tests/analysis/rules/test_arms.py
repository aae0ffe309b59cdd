"""Which arm is better: the share of half-length searches that it wins, against every pair of searches."""

import itertools

import numpy as np
import pytest
from synthetic_tables import a_space, study, tables, together
from verdicts_of_studies import EACH_DRAW, Case, check_verdicts

from playbook.analysis.rules.arms import Thresholds, comparisons, find, share_of_wins, summary
from playbook.analysis.tables import Tables
from playbook.study.space import Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_of_half_searches(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 6, 6).astype(float), rng.integers(0, 6, 7).astype(float)
    one[0] = np.inf
    pairs = list(itertools.product(itertools.combinations(one, 3), itertools.combinations(other, 3)))
    wins = np.mean([(min(a) < min(b)) + (min(a) == min(b)) / 2 for a, b in pairs])
    assert share_of_wins(one, other) == pytest.approx(wins)
    assert share_of_wins(other, one) == pytest.approx(1 - wins)


def test_an_arm_that_is_better_throughout_and_one_that_had_luck_once():
    better = tables([0.1 + 0.01 * i for i in range(12)], {"lr": [0.1] * 12}, LR, arm="optimizer=adam")
    worse = tables([0.5 + 0.01 * i for i in range(12)], {"lr": [0.1] * 12}, LR, arm="optimizer=sgd")
    lucky = tables([0.09] + [0.5 + 0.01 * i for i in range(11)], {"lr": [0.1] * 12}, LR, arm="optimizer=sgd")
    (found,) = comparisons(together(worse, better))
    assert (found.best, found.other, found.share, found.verdict) == ("optimizer=adam", "optimizer=sgd", 1.0, "better")
    (found,) = comparisons(together(lucky, better))
    assert (found.best, found.share, found.verdict) == ("optimizer=sgd", 0.5, "cannot tell")


def test_four_trials_cannot_tell_however_far_apart():
    better = tables([0.1] * 4, {"lr": [0.1] * 4}, LR, arm="a")
    worse = tables([0.5] * 4, {"lr": [0.1] * 4}, LR, arm="b")
    assert comparisons(together(better, worse))[0].verdict == "cannot tell"


def test_equal_arms_are_seldom_told_apart():
    def loss(at):
        return (at["lr"] - 0.5) ** 2

    told = 0
    for seed in range(200):
        arms = [study(16, LR, loss, noise=0.05, seed=2 * seed + i, arm=name) for i, name in enumerate("ab")]
        told += comparisons(together(*arms))[0].verdict == "better"
    assert told <= 0.06 * 200


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_summary_and_the_finding(mode):
    sign = 1 if mode == "min" else -1
    one = tables([sign * 0.3, None, sign * 0.2], {"lr": [0.1] * 3}, LR, arm="one", mode=mode)
    failed = tables([None, None], {"lr": [0.1] * 2}, LR, arm="failed", mode=mode)
    two = tables([sign * 0.1, sign * 0.4, sign * 0.4], {"lr": [0.1] * 3}, LR, arm="two", mode=mode)
    found = together(one, failed, two)
    assert summary(found).rows() == [
        ("two", 3, 0, sign * 0.1, 5, sign * 0.4),
        ("one", 3, 1, sign * 0.2, 2, sign * 0.25),
        ("failed", 2, 2, None, None, None),
    ]
    (finding,) = find(found)
    assert (finding.code, finding.severity, finding.rule, finding.trials) == ("arms", "info", "B3", (5, 2))
    assert finding.evidence["shares"]["failed"] == 1.0
    assert find(one) == []
    assert find(together(failed, tables([None], {"lr": [0.1]}, LR, arm="too"))) == []


def a_better_arm(rng, fault: bool) -> Case:
    """`arms`: one arm is better by half of the spread within them, or both are the same."""
    seed, noise, count = int(rng.integers(1e6)), rng.uniform(0.005, 0.02), int(rng.integers(12, 60))

    def arm(name: str, better: float, place: int) -> Tables:
        best = {key: rng.uniform(0.3, 0.7) for key in space}
        loss = lambda at: 1 - better + sum((u - best[key]) ** 2 for key, u in at.items())  # noqa: E731
        return study(count, space, loss, noise=noise, seed=seed + place, arm=name)

    space = a_space(rng, 2)
    tables = together(arm("optimizer=adam", 0.15 if fault else 0.0, 1), arm("optimizer=sgd", 0.0, 2))
    sure = Thresholds().beyond_luck
    return Case(tables, find, fault, lambda finding: max(finding.evidence["shares"].values()) >= sure)


@EACH_DRAW
def test_verdicts_are_right(seed):
    check_verdicts(a_better_arm, seed)
