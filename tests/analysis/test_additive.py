"""The joint additive model against least squares."""

import numpy as np
import pytest
from synthetic_tables import study, tables

from playbook.analysis.additive import Additive, curves
from playbook.study.space import Choice, Float

SPACE = {"k": Float(0, 1), "l": Float(0, 1), "name": Choice(("a", "b", "c"))}


def test_what_is_left_is_what_least_squares_leaves():
    found = study(60, SPACE, lambda at: at["k"] + at["l"] ** 2, noise=0.1)
    loss, given = found.trials["objective"].to_numpy(), curves(found.trials, SPACE, 2)
    assert given.degrees == {"k": 2, "l": 2, "name": 2}
    for each in given.columns.values():
        assert each.mean(axis=0) == pytest.approx(0, abs=1e-12)
        assert each.T @ each / 60 == pytest.approx(np.eye(2), abs=1e-12)
    fitted = np.column_stack([np.ones(60), given.columns["k"], given.columns["name"]])
    left = loss - fitted @ np.linalg.lstsq(fitted, loss, rcond=None)[0]
    assert float(Additive(loss, given).left(["k", "name"])) == pytest.approx(left @ left, rel=1e-6)


@pytest.mark.parametrize("groups", [60, 12])
def test_a_bootstrap_has_as_many_trials_on_average(groups):
    found = study(60, SPACE, lambda at: at["k"])
    model = Additive(found.trials["objective"].to_numpy(), curves(found.trials, SPACE, 2))
    grams = model.bootstrap(50, groups)
    assert grams[:, 0, 0].mean() == pytest.approx(60)
    assert model.left(["k"], grams).shape == (50,)


def test_two_names_of_one_are_tied():
    k = np.linspace(0, 1, 20)
    found = tables(list(k), {"k": list(k), "l": list(1 - k)}, {"k": Float(0, 1), "l": Float(0, 1)})
    model = Additive(k, curves(found.trials, found.space["all"], 2))
    assert (model.tied("k"), model.tied("l")) == ({"l"}, {"k"})
