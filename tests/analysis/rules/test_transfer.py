"""The drift of the best lr against valleys whose bottom is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from synthetic_tables import study, together

from playbook.analysis.rules.transfer import find, transfers
from playbook.analysis.tables import Tables
from playbook.study.space import Choice, Float

LR = Float(1e-4, 1.0, "log")
DECADES = 4.0
SIZES = (64, 256, 1024)


def widths(
    slope: float, *, seed: int = 0, noise: float = 0.02, n_trials: int = 16, bottom: float = 1e-2, case: str = ""
) -> Tables:
    """A valley in log10 lr for each width, with its bottom at bottom · (width / 256)^slope."""
    arms = []
    for place, size in enumerate(SIZES):
        at = 0.25 * math.log10(bottom * (size / 256) ** slope / LR.low)
        arms.append(
            study(
                n_trials,
                {"lr": LR, "model.width": Choice((size,))},
                lambda found, at=at: 0.1 + 0.3 * (DECADES * (found["lr"] - at)) ** 2,
                seed=3 * seed + place,
                noise=noise,
                arm=f"model.width={size}" + (f",{case}" if case else ""),
            )
        )
    return together(*arms, scientific=("model.width",))


def verdict(tables: Tables) -> tuple[str, float | None]:
    (found,) = transfers(tables)
    return found.verdict, found.slope


def test_a_best_lr_that_falls_as_the_width_drifts():
    (found,) = transfers(widths(-1.0))
    assert found.verdict == "drifts"
    assert found.interval[0] < -1.0 < found.interval[1]
    assert found.ratio == pytest.approx(1 / 16, rel=0.3)
    assert [each.lr for each in found.best] == pytest.approx([0.04, 0.01, 0.0025], rel=0.4)


def test_one_that_stays_transfers_where_the_valley_is_sharp_enough_to_see_it():
    assert verdict(widths(0.0, noise=0.001))[0] == "transfers"


def test_in_a_noisy_study_it_cannot_be_told_and_says_why():
    (finding,) = find(widths(-0.1, noise=0.5))
    assert finding.evidence["verdict"] == "cannot tell"
    assert "cannot be told, because" in finding.message


@pytest.mark.parametrize("slope", [-1.0, 0.0])
def test_the_interval_holds_the_slope_that_it_should(slope):
    """Of 95 % intervals at least 16 in 20 (fewer have a chance of 1 in 400), and not because they are wide."""
    found = [transfers(widths(slope, seed=seed, noise=0.02))[0] for seed in range(20)]
    intervals = [each.interval for each in found if each.interval is not None]
    assert len(intervals) >= 18
    assert sum(low <= slope <= high for low, high in intervals) >= 16
    assert np.median([high - low for low, high in intervals]) < 0.4


def test_never_is_what_stays_called_a_drift_by_more_than_its_level():
    found = [verdict(widths(0.0, seed=seed, noise=0.1))[0] for seed in range(20)]
    assert found.count("drifts") <= 3


def test_a_best_lr_at_the_end_of_the_range_is_not_known():
    (found,) = transfers(widths(-1.0, bottom=2e-4))
    assert (found.verdict, found.slope) == ("cannot tell", None)
    assert "at model.width=1024 it lies at the low end" in found.reason


def test_too_few_trials_are_no_curve():
    (found,) = transfers(widths(0.0, n_trials=6))
    assert found.verdict == "cannot tell"
    assert "6 settings trained, of 8" in found.reason


def test_each_family_has_a_finding_and_what_has_no_sizes_has_none():
    both = [widths(-1.0, case="standard"), widths(0.0, case="mup", noise=0.001)]
    tables = together(*both, scientific=("model.width",))
    assert {each.evidence["family"]: each.evidence["verdict"] for each in find(tables)} == {
        "standard": "drifts",
        "mup": "transfers",
    }
    assert find(together(*both, scientific=("optimizer",))) == []
    few = together(widths(-1.0), scientific=("model.width",))
    two = few.trials.filter(few.trials["model.width"] < 1000)
    assert find(Tables(two, few.objective, space=few.space, scientific=few.scientific)) == []
