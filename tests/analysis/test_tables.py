"""Which trials the tables name as the best."""

from dataclasses import replace

from synthetic_tables import tables

from playbook.analysis.tables import best_trials
from playbook.study.space import Choice


def test_the_best_trials_are_those_of_the_best_settings_where_settings_are_repeated():
    columns = {"lr": [0.1] * 3 + [0.2] * 3, "seed": [0, 1, 2] * 2}
    space = {"lr": Choice((0.1, 0.2)), "seed": Choice((0, 1, 2))}
    found = tables([0.1, 0.9, 0.8, 0.3, 0.2, 0.4], columns, space)
    assert best_trials(found)[0] == 0  # each trial for itself
    assert best_trials(replace(found, repeat=("seed",)))[:2] == [3, 2]  # the repeats nearest to the means 0.3 and 0.6
