"""The noise of repeats, where those of a few settings are wild."""

import math

import numpy as np
import pytest

from playbook.analysis.shrinkage import typical_noise


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_normal_noise_it_is_the_pooled_deviation(seeds):
    found = [typical_noise(list(np.random.default_rng(i).normal(0, 0.3, (60, seeds)))) for i in range(60)]
    assert np.mean(np.square(found)) == pytest.approx(0.09, rel=0.08)


def test_a_wild_setting_hardly_matters_and_worse_ones_do_not():
    rng = np.random.default_rng(0)
    repeats = list(rng.normal(0, 1, (20, 3)))
    quiet = typical_noise(repeats)
    repeats[3] = repeats[3] * 1000
    assert quiet < typical_noise(repeats) < 1.5 * quiet
    assert typical_noise([*repeats[:10], *(1000 * each for each in repeats[10:])]) == typical_noise(repeats)


def test_settings_without_repeats_say_nothing():
    assert math.isnan(typical_noise([np.array([1.0])] * 30))
    assert math.isnan(typical_noise([np.array([1.0, 1.0])] * 30))
    assert math.isnan(typical_noise([np.array([1.0, 2.0])] * 3))
