"""Standard errors of shares: no share is known for certain."""

import numpy as np
import pytest

from playbook.analysis.standard_error import adjusted_of_share, of_share


@pytest.mark.parametrize("n", [20, 359, 10_000])
def test_no_miss_is_not_no_error(n):
    """The upper end of a 95 % interval is about that of the rule of three, 3/n."""
    se = adjusted_of_share(0.0, n)
    assert 2 / (n + 4) + 1.96 * se == pytest.approx(4.7 / n, rel=0.2)
    assert adjusted_of_share(1.0, n) == pytest.approx(se)
    assert of_share(0.0, n) == 0


def test_it_covers_as_often_as_it_says():
    rng, n = np.random.default_rng(0), 359
    for truth in (0.002, 0.02, 0.2):
        drawn = rng.binomial(n, truth, 4000)
        centres = (drawn + 2) / (n + 4)
        errors = np.array([adjusted_of_share(k / n, n) for k in drawn])
        assert np.mean(np.abs(centres - truth) <= 1.96 * errors) >= 0.93
