"""Which trials the tables name as the best."""

from dataclasses import replace

from synthetic_tables import tables

from playbook.analysis.repeats import is_repeated
from playbook.analysis.tables import best_trials
from playbook.study.space import Choice


def test_the_best_trials_are_those_of_the_best_settings_whatever_a_seed_is_called():
    columns = {"lr": [0.1] * 3 + [0.2] * 3, "seed": [0, 1, 2] * 2}
    space = {"lr": Choice((0.1, 0.2)), "seed": Choice((0, 1, 2))}
    found = tables([0.1, 0.9, 0.8, 0.3, 0.2, 0.4], columns, space)
    for each in (found, replace(found, repeat=("seed",)), replace(found, space={"all": {"lr": Choice((0.1, 0.2))}})):
        assert best_trials(each)[:2] == [3, 2]  # the repeats nearest to the means 0.3 and 0.6


def test_a_seed_that_is_another_one_in_each_trial_is_no_repeat():
    columns = {"lr": [0.1, 0.2, 0.3], "seed": [7, 8, 9]}
    found = tables([0.3, 0.1, 0.2], columns, {"lr": Choice((0.1, 0.2, 0.3)), "seed": Choice((7, 8, 9))})
    assert not is_repeated(found)
    assert best_trials(found) == [1, 2, 0]


def test_the_same_seed_over_again_is_no_repeat():
    found = tables([0.3, 0.1], {"lr": [0.1, 0.1], "seed": [7, 7]}, {"lr": Choice((0.1, 0.2))})
    assert not is_repeated(found)
    unknown = replace(found, trials=found.trials.with_columns(seed=None))
    assert is_repeated(unknown)
