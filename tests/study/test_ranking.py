"""The best of settings that are repeated is not the luckiest repeat."""

import polars as pl
import pytest

from playbook.study.design import Objective
from playbook.study.ranking import ranked

TRIALS = pl.DataFrame(
    {
        "trial": range(9),
        "arm": "all",
        "lr": [0.1] * 3 + [0.2] * 3 + [0.3] * 3,
        "seed": [0, 1, 2] * 3,
        "status": ["complete"] * 6 + ["complete", "infeasible", "crashed"],
        "objective": [0.1, 0.9, 0.8, 0.3, 0.2, 0.4, 0.0, None, None],
    }
)
"""The lucky one, the best on average, and one of which a repeat did not train."""


@pytest.mark.parametrize("mode", ["min", "max"])
def test_settings_are_ranked_by_their_mean_and_stand_for_it_with_the_repeat_nearest_to_it(mode):
    sign = 1 if mode == "min" else -1
    trials = TRIALS.with_columns(pl.col("objective") * sign).sample(fraction=1, shuffle=True, seed=3)
    order = ranked(trials, Objective("val/error", mode), ["lr"])["trial"].to_list()
    assert order == [3, 2, 6, 4, 5, 0, 1]


def test_a_crashed_repeat_does_not_count():
    trials = TRIALS.with_columns(status=pl.when(pl.col("trial") == 7).then(pl.lit("crashed")).otherwise("status"))
    assert ranked(trials, Objective("val/error"), ["lr"])["trial"][0] == 6


def test_where_nothing_is_repeated_the_best_trial_is_the_best():
    assert ranked(TRIALS, Objective("val/error"))["trial"].to_list() == [6, 0, 4, 3, 5, 2, 1]
