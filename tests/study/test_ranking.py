"""The best of settings that are repeated is not the luckiest repeat."""

import polars as pl
import pytest

from playbook.run_files import Result
from playbook.study.design import Design, Objective
from playbook.study.ledger import Ledger
from playbook.study.ranking import ranked
from playbook.study.space import Choice
from playbook.study.study_files import Outcome

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


@pytest.mark.parametrize(("repeat", "best"), [("seed", 3), (None, 3)])
def test_what_the_terminal_calls_best_is_the_first_of_the_ranking(tmp_path, repeat, best):
    values = {"lr": Choice((0.1, 0.2)), "seed": Choice((0, 1, 2))}
    design = Design(
        "s",
        nuisance={key: each for key, each in values.items() if key != repeat},
        repeat={key: each for key, each in values.items() if key == repeat},
    )
    trials = design.trials(6)
    ledger = Ledger(tmp_path, design, trials, None)
    for trial in trials:
        objective = TRIALS.filter(lr=trial.settings["lr"], seed=trial.settings["seed"])["objective"].item()
        result = Result("complete", objective, 1, objective, 1, 1.0, {}, 0, "val/error", "min")
        ledger.outcomes[trial.number] = Outcome(trial, "complete", result)
    chosen = ledger.best.trial.settings
    assert chosen == {"lr": TRIALS["lr"][best], "seed": TRIALS["seed"][best]}
