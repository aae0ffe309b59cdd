"""The verdict on repeats of two configurations: known answers, symmetries, and verdicts that others have published."""

import math
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm, ttest_ind

from playbook.errors import InputError
from playbook.procedures.comparison import sd_of_best
from playbook.procedures.sequential_test import THRESHOLDS, critical_value, look, looks, paired_estimates

PUBLISHED = Path(__file__).parents[2] / ".." / "shared" / "data" / "nanogpt_track3" / "val_curves.csv"


def drawn(seed, num=8, better_by=0.0):
    rng = np.random.default_rng(seed)
    return (rng.normal(-better_by, 1, num)).tolist(), rng.normal(0, 1, num).tolist()


def test_with_a_known_noise_it_is_the_z_interval_at_the_level_of_the_look():
    ours, theirs = drawn(0, num=10)
    found = look(ours, theirs, noise_sd=1.0, alpha=0.05)
    reach = norm.isf(0.1 * 0.05 * 8 / 10) * math.sqrt(2 / 10)
    effect = fmean(theirs) - fmean(ours)
    assert (found.low, found.effect, found.high) == pytest.approx((effect - reach, effect, effect + reach))
    assert found.p_better == pytest.approx(norm.cdf(effect / math.sqrt(2 / 10)))


def test_without_pairs_it_is_welchs_test():
    ours, theirs = drawn(1, num=7, better_by=1.0)
    theirs = [3 * value for value in theirs]
    found = look(ours, [*theirs, 0.5], paired=False)
    welch = ttest_ind(ours, [*theirs, 0.5], equal_var=False, alternative="less").pvalue
    assert found.p_better == pytest.approx(1 - welch, abs=1e-6)


def test_pairs_are_worth_their_correlation_in_the_end_and_independence_at_first():
    rng = np.random.default_rng(2)
    common = rng.normal(0, 1, (400, 200))
    ours, theirs = (common + rng.normal(0, 0.2, common.shape) for _ in range(2))
    for num, at_most in ((4, 1.0), (200, 0.5)):
        _, errors, _ = paired_estimates(ours[:, :num], theirs[:, :num])
        independent = math.sqrt(2 * 1.04 / num)
        assert np.mean(errors) < at_most * independent


@pytest.mark.parametrize("seed", range(5))
def test_it_does_not_depend_on_units_on_the_direction_or_on_the_order_of_pairs(seed):
    ours, theirs = drawn(seed, better_by=1.0)
    found = look(ours, theirs)
    scaled = look([1e-6 * v + 3 for v in ours], [1e-6 * v + 3 for v in theirs])
    assert (scaled.verdict, scaled.needed) == (found.verdict, found.needed)
    assert scaled.effect == pytest.approx(1e-6 * found.effect)
    assert scaled.low == pytest.approx(1e-6 * found.low, rel=1e-4, abs=1e-12)
    turned = look([-v for v in ours], [-v for v in theirs], mode="max")
    assert (turned.effect, turned.low, turned.verdict) == (found.effect, found.low, found.verdict)
    swapped = look(theirs, ours)
    assert (swapped.effect, swapped.low, swapped.high) == pytest.approx((-found.effect, -found.high, -found.low))
    assert {found.verdict, swapped.verdict} in ({"adopt", "keep"}, {"cannot tell"})
    other_order = look(ours[::-1], theirs[::-1])
    assert other_order.low == pytest.approx(found.low)


def test_a_margin_is_what_has_to_be_exceeded():
    ours, theirs = drawn(3, num=12, better_by=3.0)
    found = look(ours, theirs)
    assert found.verdict == "adopt"
    assert look(ours, theirs, margin=0.9 * found.low).verdict == "adopt"
    assert look(ours, theirs, margin=1.01 * found.low).verdict == "cannot tell"
    assert look(ours, theirs, margin=1.01 * found.high).verdict == "keep"
    assert look(ours, theirs, margin=1.01 * found.high).effect == pytest.approx(found.effect)


def test_two_repeats_say_nothing_and_equal_ones_say_nothing_either():
    for found in looks([0.1, 0.1], [0.9, 0.9]):
        assert (found.verdict, found.low, found.needed) == ("cannot tell", None, None)
    same = look([0.1] * 5, [0.1] * 5)
    assert (same.verdict, same.effect, same.p_better) == ("cannot tell", 0.0, 0.5)


def test_one_example_of_difference_three_times_is_not_certain():
    counted = [10 / 359] * 3, [11 / 359] * 3
    found = look(*counted)
    assert found.verdict == "cannot tell"
    assert found.low < 0 < found.high


def test_infeasible_repeats_are_the_worst_and_then_ranks_decide():
    ours, theirs = [0.5, 0.6, 0.4, 0.55], [0.7, None, math.nan, math.inf]
    found = look(ours, theirs)
    assert (found.by, found.infeasible) == ("ranks", (0, 3))
    assert found.effect == pytest.approx(0.7 - 0.5)  # of the pair in which both trained
    assert found.p_one_better == 1.0
    assert look(ours * 3, theirs * 3).verdict == "adopt"
    assert look(theirs * 3, ours * 3).verdict == "keep"
    assert look([None] * 6, [None] * 6).verdict == "cannot tell"


def test_more_repeats_would_tell_as_many_as_it_says():
    """Of studies with the effect and the noise that were seen, so many repeats tell in about 4 of 5."""
    ours, theirs = drawn(11, num=6, better_by=1.0)
    found = look(ours, theirs)
    assert found.verdict == "cannot tell"
    num = found.needed
    assert num > 6
    sd = found.above_margin.se * math.sqrt(6 / 2)
    rng = np.random.default_rng(0)
    one, other = (rng.normal(mean, sd, (2000, num)) for mean in (found.effect, 0.0))
    effects, errors, df = paired_estimates(one, other)
    assert 0.72 < np.mean(effects > critical_value(num, df, 0.05) * errors) < 0.9


def test_a_configuration_with_itself_is_hardly_ever_adopted_however_often_one_looks():
    rng = np.random.default_rng(7)
    ours, theirs = rng.lognormal(0, 1, (500, 100)), rng.lognormal(0, 1, (500, 100))
    ours[:, 0] = rng.lognormal(0, 1, (500, 10)).min(axis=1)  # as if the run that was picked counted
    ever = np.zeros(500, dtype=bool)
    for num in range(THRESHOLDS.fewest, 101):
        effects, errors, df = paired_estimates(-ours[:, :num], -theirs[:, :num])
        ever |= effects > critical_value(num, df, 0.05) * errors
    assert ever.mean() <= 0.05


def test_the_chance_to_tell_is_the_share_of_comparisons_that_go_on_to_a_verdict():
    """Of pairs drawn from what 6 say of the effect (flat prior, known spread), at the last of 12."""
    ours, theirs = drawn(3, num=6, better_by=0.9)
    found = look(ours, theirs, noise_sd=1.0)
    assert found.verdict == "cannot tell"
    estimate, rng = found.above_margin, np.random.default_rng(0)
    effect = estimate.effect + estimate.se * rng.standard_normal(40_000)  # the true one
    rest = effect + estimate.se * rng.standard_normal(40_000)  # of as many more
    told = np.abs((estimate.effect + rest) / 2) > critical_value(12, math.inf, 0.05) * estimate.se / math.sqrt(2)
    assert 0.05 < told.mean() < 0.95
    assert found.chance_to_tell(12) == pytest.approx(told.mean(), abs=0.01)
    assert found.chance_to_tell(6) == 0
    assert not found.is_futile(12)


def test_to_stop_where_it_is_futile_costs_hardly_any_verdict():
    """An effect of 2 sd within 8 repeats, in comparisons of which each is looked at after every repeat."""
    rng, told, stopped = np.random.default_rng(5), 0, 0
    for _ in range(150):
        ours, theirs = rng.normal(-2, 1, 8), rng.normal(0, 1, 8)
        every = [look(ours[:num], theirs[:num]) for num in range(3, 9)]
        told += any(each.verdict == "adopt" for each in every)
        stop = next((place for place, each in enumerate(every) if each.is_futile(8)), len(every))
        stopped += any(each.verdict == "adopt" for each in every[: stop + 1])
    assert told >= 110
    assert stopped >= told - 3


def test_what_makes_no_difference_is_soon_given_up():
    rng = np.random.default_rng(6)
    futile = [look(pairs[0], pairs[1]).is_futile(10) for pairs in (rng.normal(0, 1, (2, 8)) for _ in range(200))]
    assert np.mean(futile) > 0.6
    assert not look([1.0] * 4, [1.0] * 4).is_futile(10)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"candidate": [1.0], "incumbent": [1.0, 2.0]}, "are no pairs"),
        ({"alpha": 0.0}, "alpha=0.0"),
        ({"margin": -1.0}, "margin=-1.0"),
        ({"noise_sd": 0.0}, "noise_sd=0.0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(given, said):
    with pytest.raises(InputError, match=said) as refused:
        look(**({"candidate": [1.0] * 3, "incumbent": [2.0] * 3} | given))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_spread_of_the_best_of_trials_drawn_anew(mode):
    objectives = [0.1, 0.2, 0.4, 0.4]
    best = min if mode == "min" else max
    every = [best(again) for again in product(objectives, repeat=4)]
    assert sd_of_best(objectives, mode) == pytest.approx(pstdev(every))
    assert sd_of_best([0.1, 0.2], mode) is None


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the runs are not there")
@pytest.mark.parametrize(
    ("candidate", "incumbent", "verdict"),
    [
        ("12_muon_lr035_wd025", "06_muon_lr025_wd025", "adopt"),
        ("13_muloco_normuonh", "11_contra_muon", "cannot tell"),
        ("11_contra_muon", "09_normuon_uwfloor", "cannot tell"),
        ("13_muloco_normuonh", "08_normuonh", "cannot tell"),
        ("16_trustlight", "14_contra_soap_mlp", "cannot tell"),
    ],
)
def test_published_verdicts_on_language_models(candidate, incumbent, verdict):
    """By its own rule (https://github.com/KellerJordan/modded-nanogpt, track 3): sigma .0013 a run, p < .001, 100 steps
    fewer are worth .0045 of loss."""
    runs = pl.read_csv(PUBLISHED).sort("step").group_by("result", "seed_index").last()
    ours, theirs = (runs.filter(pl.col("result") == name) for name in (candidate, incumbent))
    worth = 0.0045 * (theirs["total_steps"][0] - ours["total_steps"][0]) / 100
    losses = (ours["val_loss"] - worth).to_list(), theirs["val_loss"].to_list()
    found = look(*losses, paired=False, noise_sd=0.0013, alpha=0.01)
    assert found.verdict == verdict
