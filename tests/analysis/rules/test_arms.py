"""Which arm is better: beyond what luck explains, and never by what it may be."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from synthetic_tables import study, tables, together

from playbook.analysis.arm_differences import difference, shared_points
from playbook.analysis.external import from_frames
from playbook.analysis.multiple import all_pairs, best_of_several
from playbook.analysis.robust_mean import robust_mean
from playbook.analysis.rules.arms import compared, find, summary
from playbook.report.answer import answer
from playbook.study.design import Objective
from playbook.study.space import Choice, Float

LR = {"lr": Float(1e-4, 1e-1, "log")}
LRS = np.geomspace(2e-4, 5e-2, 16).tolist()


def arm(name: str, objective, lrs=None, mode="min"):
    return tables(list(objective), {"lr": (lrs or LRS)[: len(objective)]}, LR, arm=f"optimizer={name}", mode=mode)


def of_seeds(**values):
    """Arms of one setting each, by the objective of each of their seeds."""
    rows = [(name, 0.1, seed, value) for name, each in values.items() for seed, value in enumerate(each)]
    frame = pl.DataFrame(rows, schema=["arm", "lr", "seed", "objective"], orient="row").with_row_index("trial")
    return from_frames(frame, None, None, Objective("val/loss"))


def verdicts(found):
    return {each.arm.removeprefix("optimizer="): each.verdict for each in compared(found)}


def test_points_that_are_shared_are_paired_and_a_lucky_trial_makes_no_arm_better():
    rng = np.random.default_rng(0)
    valley = 0.2 + 0.02 * np.abs(np.arange(16) - 8)
    sgd, adam = valley + 0.001 * rng.standard_normal(16), valley + 0.01 + 0.001 * rng.standard_normal(16)
    assert verdicts(together(arm("adam", adam), arm("sgd", sgd))) == {"sgd": "better", "adam": "worse"}
    lucky = np.where(np.arange(16) == 8, 0.1, adam)
    assert not {"better", "worse"} & set(verdicts(together(arm("adam", lucky), arm("sgd", sgd))).values())


def test_the_paired_difference_is_the_mean_of_the_better_points_by_the_mean_of_the_pair():
    rng = np.random.default_rng(1)
    valley = 0.2 + 0.02 * np.abs(np.arange(16) - 8)
    one, other = valley + 0.001 * rng.standard_normal(16), valley + 0.004 + 0.001 * rng.standard_normal(16)
    found = difference(together(arm("a", one), arm("b", other)), "optimizer=a", "optimizer=b")
    expected = robust_mean((other - one)[np.argsort(one + other)[:10]])
    assert (found.method, found.degrees) == ("pairs", expected.degrees)
    assert found.by == pytest.approx(expected.mean)
    assert found.se == pytest.approx(1.1 * expected.se)


def test_a_pair_that_went_wrong_hides_no_difference():
    rng = np.random.default_rng(2)
    valley = 0.2 + 0.02 * np.abs(np.arange(16) - 8)
    sgd, adam = valley + 0.001 * rng.standard_normal(16), valley + 0.004 + 0.001 * rng.standard_normal(16)
    sgd[7] += 0.03  # one seed of the better arm
    assert verdicts(together(arm("adam", adam), arm("sgd", sgd))) == {"sgd": "better", "adam": "worse"}


def test_an_arm_whose_best_trial_was_lucky_is_not_the_best_arm():
    rng = np.random.default_rng(3)
    valley = 0.2 + 0.02 * np.abs(np.arange(16) - 8)
    sgd, adam = valley + 0.001 * rng.standard_normal(16), valley + 0.004 + 0.001 * rng.standard_normal(16)
    adam[8] = sgd[8] - 0.001
    both = together(arm("adam", adam), arm("sgd", sgd))
    assert adam.min() < sgd.min()
    assert [(each.arm, each.verdict) for each in compared(both)] == [
        ("optimizer=sgd", "better"),
        ("optimizer=adam", "worse"),
    ]
    (finding,) = find(both)
    assert finding.message.startswith("The best trial is of optimizer=adam (")
    assert "optimizer=sgd is better, over all the points that they share, than optimizer=adam" in finding.message
    assert answer(both, []).startswith("optimizer=sgd comes out ahead, though the best trial is of optimizer=adam: ")


def test_arms_with_other_points_share_none():
    both = together(arm("a", [0.1] * 8), arm("b", [0.2] * 8, [2 * lr for lr in LRS]))
    assert shared_points(both, "optimizer=a", "optimizer=b") == ()


def test_four_trials_cannot_tell_however_far_apart():
    found = together(arm("a", [0.1, 0.11, 0.12, 0.13]), arm("b", [0.5, 0.51, 0.52, 0.53]))
    assert verdicts(found) == {"a": "cannot tell", "b": "cannot tell"}


def test_seeds_are_no_trials():
    """Equal arms of 5 settings × 5 seeds, whose settings are ten seed sd apart (told in 84 % before)."""
    told = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = [
            (name, lr, again, mean + 0.001 * rng.standard_normal())
            for name in "ab"
            for lr, mean in zip(rng.uniform(1e-3, 1e-1, 5), 1 + 0.01 * rng.standard_normal(5), strict=True)
            for again in range(5)
        ]
        frame = pl.DataFrame(rows, schema=["arm", "lr", "seed", "objective"], orient="row").with_row_index("trial")
        told += "better" in verdicts(from_frames(frame, None, None, Objective("val/loss"))).values()
    assert told <= 2


def test_arms_of_one_setting_each_are_compared_by_their_seeds():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 10))
    assert verdicts(of_seeds(a=1 + 0.1 * noise[0], b=2 + 0.1 * noise[1])) == {"a": "better", "b": "worse"}
    assert set(verdicts(of_seeds(a=1 + 0.1 * noise[0], b=1 + 0.1 * noise[1])).values()) <= {"cannot tell", "equal"}


def test_arms_that_are_nearer_than_the_noise_of_one_trial_are_equal():
    noise = np.resize([0.1, -0.1], 40)
    assert verdicts(of_seeds(a=1 + noise, b=1.001 + noise)) == {"a": "equal", "b": "equal"}
    (finding,) = find(of_seeds(a=1 + noise, b=1.001 + noise))
    assert finding.evidence["margin"] == pytest.approx(0.1, rel=0.02)
    assert "b is equal to a, to within 0.1" in finding.message


def test_fewer_than_five_examples_are_no_verdict():
    few = of_seeds(a=[9 / 400] * 5 + [10 / 400] * 5, b=[12 / 400] * 5 + [13 / 400] * 5)
    few = with_examples(few, metric="val/error")
    assert verdicts(few) == {"a": "better", "b": "worse"}  # of how many examples is not known
    assert "better" not in verdicts(with_examples(few, n_examples=400)).values()
    assert verdicts(with_examples(few, n_examples=1200)) == {"a": "better", "b": "worse"}


def with_examples(found, metric=None, n_examples=None):
    trials = found.trials if n_examples is None else found.trials.with_columns(n_examples=pl.lit(n_examples))
    return replace(found, trials=trials, objective=Objective(metric) if metric else found.objective)


def test_an_arm_in_which_nothing_trains_is_worse_than_one_that_trains():
    found = together(arm("a", [0.1 + 0.01 * place for place in range(10)]), arm("b", [None] * 10))
    assert verdicts(found) == {"a": "better", "b": "worse"}
    assert verdicts(together(arm("a", [0.1, 0.2]), arm("b", [None] * 2)))["b"] == "cannot tell"


def test_curves_that_cross_are_said():
    rng = np.random.default_rng(0)
    steady = 0.20 + 0.001 * rng.standard_normal(20)
    late = np.where(np.arange(20) == 11, 0.1, 0.5) + 0.001 * rng.standard_normal(20)
    rows = [
        (name, lr, seed, value + 0.001 * rng.standard_normal())
        for name, values in (("steady", steady), ("late", late))
        for lr, value in zip(np.geomspace(1e-4, 1e-1, 20).tolist(), values, strict=True)
        for seed in range(2)
    ]
    frame = pl.DataFrame(rows, schema=["arm", "lr", "seed", "objective"], orient="row").with_row_index("trial")
    found = from_frames(frame, None, None, Objective("val/loss"))
    (finding,) = find(found)
    assert finding.evidence["arms"][1]["ahead_until"] in range(8, 20)
    assert "trials steady is ahead" in finding.message


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
    assert [row["arm"] for row in finding.evidence["arms"]] == ["two", "one", "failed"]
    assert find(one) == []
    assert find(together(failed, tables([None], {"lr": [0.1]}, LR, arm="too"))) == []


def test_equal_arms_are_seldom_told_apart_and_those_apart_by_two_seed_deviations_are():
    told = {0.0: 0, 2.0: 0}
    for apart in told:
        for seed in range(60):
            arms = [
                study(16, LR, lambda at: np.abs(at["lr"] - 0.5) / 4, noise=0.02, seed=seed, arm=f"optimizer={name}")
                for name in "ab"
            ]
            rng = np.random.default_rng(seed)
            moved = arms[1].trials.with_columns(
                objective=pl.col("objective") + pl.Series(0.02 * (apart + rng.standard_normal(16)))
            )
            arms[0] = type(arms[0])(
                arms[0].trials.with_columns(objective=pl.col("objective") + pl.Series(0.02 * rng.standard_normal(16))),
                arms[0].objective,
                space=arms[0].space,
            )
            both = together(arms[0], type(arms[1])(moved, arms[1].objective, space=arms[1].space))
            told[apart] += "better" in verdicts(both).values()
    assert told[0.0] <= 6
    assert told[2.0] >= 48


def test_the_bounds_of_several_comparisons():
    """Dunnett's one-sided table (Hochberg and Tamhane 1987) and Tukey's: 3.64 = q(2, 5), 3.88 = q(3, 10) at 5 %."""
    assert best_of_several(2, np.inf) == pytest.approx(1.645, abs=1e-3)
    assert best_of_several(3, 10) == pytest.approx(2.15, abs=0.02)
    assert best_of_several(10, np.inf) == pytest.approx(2.42, abs=0.02)
    assert all_pairs(2, 5) * 2**0.5 == pytest.approx(3.64, abs=0.01)
    assert all_pairs(3, 10) * 2**0.5 == pytest.approx(3.88, abs=0.01)


def test_a_list_of_values_is_a_space_too():
    space = {"width": Choice((16, 32, 64))}
    one = tables([0.3, 0.2, 0.1], {"width": [16, 32, 64]}, space, arm="a")
    other = tables([0.4, 0.3, 0.2], {"width": [16, 32, 64]}, space, arm="b")
    assert set(verdicts(together(one, other)).values()) == {"cannot tell"}
