"""The answer is a set, and what the winner would be again; with no noise known there is no verdict."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_tables import study, tables

from playbook.analysis.rules import find_all
from playbook.analysis.rules.best import best, find
from playbook.analysis.shrinkage import shrunken
from playbook.examples import Examples
from playbook.study.space import Float

LR = {"lr": Float(1e-4, 1e-1, "log")}


def errors(missed, of=359, **others):
    found = tables([each / of for each in missed], {"lr": np.geomspace(1e-4, 0.1, len(missed)).tolist()}, LR, **others)
    return replace(found, trials=found.trials.with_columns(n_examples=pl.lit(of)))


def test_the_evidence_is_the_contract_s():
    (finding,) = find(errors([9, 10, 30, 100]))
    assert (finding.code, finding.severity, finding.rule, finding.trials) == ("best", "info", "B11", (0, 1))
    assert set(finding.evidence) == {"trial", "value", "expected", "interval", "se", "noise_from", "set"}
    assert finding.evidence["set"] == [0, 1]
    assert finding.evidence["noise_from"] == "examples"


def test_fewer_than_five_examples_are_no_difference():
    """However many examples there are: of 4 misses on a million, the standard error is half a miss more."""
    assert best(errors([0, 4, 400], of=1_000_000)).members == (0, 1)


def test_the_value_again_is_worse_than_the_luckiest_of_equal_ones():
    off, together = [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        lrs = np.repeat(np.geomspace(1e-4, 1e-1, 16), 3)
        found = tables((1 + 0.01 * rng.standard_normal(48)).tolist(), {"lr": lrs.tolist(), "seed": [0, 1, 2] * 16}, LR)
        answer = best(found)
        off.append((answer.expected - 1) / 0.01)
        assert answer.value < answer.expected
        together += len(answer.members)
    assert abs(np.mean(off)) < 0.3  # the luckiest value is off by 1.0
    assert together / 40 >= 14


def test_a_setting_of_wild_repeats_does_not_draw_a_quiet_winner_to_the_others():
    rng = np.random.default_rng(1)
    means = np.repeat([0.1, 0.2, 0.25, 0.3, *np.linspace(0.35, 0.6, 12)], 3)
    loss = means + 0.01 * rng.standard_normal(48)
    loss[9:12] += [-0.3, 0.0, 0.3]
    found = tables(
        loss.tolist(), {"lr": np.repeat(np.geomspace(1e-4, 0.1, 16), 3).tolist(), "seed": [0, 1, 2] * 16}, LR
    )
    answer = best(found)
    assert answer.expected == pytest.approx(answer.value, abs=0.01)
    assert answer.interval[1] - answer.interval[0] > 0.1  # of a trial it is as wide as before


@pytest.mark.parametrize("sign", [1, -1])
def test_where_one_is_far_better_nothing_is_shrunken(sign):
    rng = np.random.default_rng(0)
    values = sign * np.repeat([0.1, 0.5, 0.6], 4) + 0.001 * rng.standard_normal(12)
    mode = "min" if sign == 1 else "max"
    found = tables(
        values.tolist(), {"lr": np.repeat([0.01, 0.02, 0.04], 4).tolist(), "seed": [0, 1, 2, 3] * 3}, LR, mode=mode
    )
    answer = best(found)
    assert len(answer.members) == 1
    assert answer.expected == pytest.approx(sign * 0.1, abs=0.002)
    assert answer.interval[0] < answer.expected < answer.interval[1]


def test_a_setting_that_is_repeated_often_is_told_where_a_single_one_is_not():
    lrs, seeds = [0.01] * 9 + [0.02] * 9 + [0.04], [*range(9), *range(9), 0]
    rng = np.random.default_rng(0)
    values = np.repeat([0.1, 0.14, 0.14], [9, 9, 1]) + 0.02 * rng.standard_normal(19)
    values[-1] = 0.13
    answer = best(tables(values.tolist(), {"lr": lrs, "seed": seeds}, LR))
    assert 18 in answer.members
    assert len(answer.members) == 2


def test_without_noise_there_is_no_verdict():
    found = tables([0.3, 0.1, 0.2], {"lr": [0.01, 0.02, 0.04]}, LR)
    answer = best(found)
    assert (answer.expected, answer.interval, answer.se, answer.noise_from) == (None, None, None, "unknown")
    assert "oise unknown" in find(found)[0].message


def test_all_equal_have_no_winner():
    (finding,) = find(tables([0.5] * 5, {"lr": [0.01 * 2**i for i in range(5)]}, LR))
    assert "there is no winner" in finding.message
    assert finding.evidence["set"] == [0, 1, 2, 3, 4]


def test_of_an_arm():
    found = errors([9, 10, 30, 100])
    found = replace(
        found, trials=found.trials.with_columns(arm=pl.Series(["a", "b", "b", "b"])), space={"a": LR, "b": LR}
    )
    assert best(found, "b").trial == 1
    assert best(found, "c") is None


def examples(*wrong, of=400):
    """Trials by the places of the examples that they miss."""
    found = {}
    for trial, places in enumerate(wrong):
        values = np.zeros((1, of), np.float32)
        values[0, list(places)] = 1
        found[trial] = Examples(np.array([10]), values)
    return found


def test_on_the_same_examples_fewer_tell_the_difference():
    """12 examples of 400 more, the others the same: a paired test tells what two single errors do not."""
    both = errors([40, 52], of=400)
    assert len(best(both).members) == 2
    assert best(replace(both, examples=examples(range(40), range(52)))).members == (0,)
    apart = replace(both, examples=examples(range(40), range(100, 152)))  # all others: as far apart as by chance
    assert len(best(apart).members) == 2
    few = replace(errors([40, 44], of=400), examples=examples(range(40), range(44)))
    assert len(best(few).members) == 2


def test_a_step_that_was_chosen_by_the_examples_flatters():
    """At each of 50 evaluations a tenth of the examples is missed at random: the best step's error is luck."""
    values = (np.random.default_rng(0).random((8, 50, 400)) < 0.1).astype(np.float32)
    lowest = values.mean(axis=2).min(axis=1)
    found = errors(np.round(lowest * 400).tolist(), of=400)
    found = replace(found, examples={trial: Examples(np.arange(50), values[trial]) for trial in range(8)})
    assert best(replace(found, examples={})).expected < 0.08
    assert best(found).expected == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize(
    "objective",
    [
        [1e297, 2e297, 3e297, 1e290],
        [1e308, -1e308, 0.0],
        [-3.0, -2.0, -0.0, 0.0],
        [-0.0] * 4,
        [1e-320, 1e-300, 0.1, 0.2],
    ],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_any_numbers(objective, seeds):
    count = len(objective)
    columns = {"lr": [0.01 * 1.5**i for i in range(count)] * seeds, "seed": np.repeat(range(seeds), count).tolist()}
    found = tables(objective * seeds, columns, LR)
    (finding,) = (each for each in find_all(found) if each.code == "best")
    assert finding.evidence["value"] == pytest.approx(min(objective), rel=1e-2)
    assert "-0" not in finding.message.split()


def test_shrinkage_is_none_without_noise_and_all_of_it_among_equals():
    values = np.array([0.0, 10.0, 20.0, 30.0])
    assert shrunken(values, np.full(4, 0.1))[0] == pytest.approx(0.0, abs=0.05)
    rng, off = np.random.default_rng(0), []
    for _ in range(50):
        off.append(shrunken(rng.standard_normal(100), np.ones(100))[0])
    assert np.mean(off) == pytest.approx(0.0, abs=0.25)


def test_a_study_on_a_surface():
    answer = best(study(48, LR, lambda at: 0.5 + np.abs(at["lr"] - 0.4), noise=0.02))
    assert answer.noise_from == "surface"
    assert 1 < len(answer.members) < 16
    assert answer.expected > answer.value
