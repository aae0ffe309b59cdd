"""Standard errors of shares: no share is known for certain."""

import numpy as np
import polars as pl
import pytest

from playbook.analysis.standard_error import adjusted, adjusted_errors, of_share


@pytest.mark.parametrize("n", [20, 359, 10_000])
def test_no_miss_is_not_no_error(n):
    """The upper end of a 95 % interval is about that of the rule of three, 3/n."""
    se = adjusted(0.0, 0.0, n)
    assert 2 / (n + 4) + 1.96 * se == pytest.approx(4.7 / n, rel=0.2)
    assert adjusted(1.0, 0.0, n) == pytest.approx(se)
    assert of_share(0.0, n) == 0


def test_it_covers_as_often_as_it_says():
    rng, n = np.random.default_rng(0), 359
    for truth in (0.002, 0.02, 0.2):
        drawn = rng.binomial(n, truth, 4000)
        centres = (drawn + 2) / (n + 4)
        errors = np.array([adjusted(k / n, of_share(k / n, n), n) for k in drawn])
        assert np.mean(np.abs(centres - truth) <= 1.96 * errors) >= 0.93


def test_other_means_keep_their_own_error():
    assert adjusted(0.5, 0.001, 359) == 0.001  # of losses that lie close together
    assert adjusted(1.3, 0.02, 359) == 0.02
    assert adjusted(0.1, 0.02, None) == 0.02


def test_of_each_trial_where_it_is_known():
    n = 100
    recorded = of_share(0.2, n) * (n / (n - 1)) ** 0.5  # as an evaluation records it
    trials = pl.DataFrame({"objective": [0.0, 0.2, None, 0.3], "objective_se": [0.0, recorded, 0.1, None]})
    trials = trials.with_columns(n_examples=pl.lit(n))
    expected = [of_share(2 / 104, 104), of_share(22 / 104, 104), None, None]
    assert adjusted_errors(trials).to_list() == [None if e is None else pytest.approx(e) for e in expected]
    assert adjusted_errors(trials.select("objective")).to_list() == [None] * 4
