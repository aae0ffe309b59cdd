"""The lr sensitivity against the integral by hand."""

import numpy as np
import pytest
from synthetic_tables import study, tables, together

from playbook.analysis.rules.lr_sensitivity import find, lr_sensitivity
from playbook.study.space import Float

LR = {"lr": Float(1e-6, 1.0, "log")}


def test_the_mean_over_three_decades_of_a_valley():
    """Over a factor √1000 on either side of its best lr, 10⁻³, the mean of (log10 lr + 3)² is 1.5²/3."""
    lrs = np.geomspace(1e-6, 1.0, 601)
    loss = (np.log10(lrs) + 3) ** 2
    found = lr_sensitivity(tables(list(loss), {"lr": list(lrs)}, LR, chance=100.0), "all")
    assert found.loss == pytest.approx(0.75, rel=0.01)
    assert (found.best, found.start, found.of_start) == pytest.approx((0.0, 100.0, 0.0075), abs=1e-3)
    assert (found.low, found.high) == pytest.approx((10**-4.5, 10**-1.5), rel=0.05)
    up = lr_sensitivity(tables(list(-loss), {"lr": list(lrs)}, LR, mode="max", chance=-100.0), "all")
    assert (up.loss, up.start) == pytest.approx((found.loss, -100.0))


def test_what_diverged_is_as_bad_as_no_training_and_no_worse():
    lrs = [10**-3.0, 10**-2.5, 10**-2.0, 10**-1.5]
    failed = lr_sensitivity(tables([0.2, 0.2, None, None], {"lr": lrs}, LR, chance=0.9), "all")
    monstrous = lr_sensitivity(tables([0.2, 0.2, 1e297, 1e17], {"lr": lrs}, LR, chance=0.9), "all")
    assert failed == monstrous
    assert failed.of_start == pytest.approx(0.5)


def test_the_arm_with_the_wider_valley_is_less_sensitive():
    space = {**LR, "k": Float(0, 1)}
    narrow = study(60, space, lambda at: 20 * (at["lr"] - 0.5) ** 2 + at["k"], arm="optimizer=sgd")
    wide = study(60, space, lambda at: (at["lr"] - 0.5) ** 2 + at["k"], arm="optimizer=adam")
    found = {each.arm: each.evidence["sensitivity"] for each in find(together(narrow, wide))}
    assert found["optimizer=sgd"] > 3 * found["optimizer=adam"]


@pytest.mark.parametrize("objective", [[0.5] * 6, [None] * 6, [0.1, 0.2, 0.3]])
def test_what_has_no_sensitivity(objective):
    lrs = [float(each) for each in np.geomspace(1e-4, 1e-1, len(objective))]
    assert find(tables(objective, {"lr": lrs}, LR)) == []
