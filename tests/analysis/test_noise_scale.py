"""The noise scale of several runs: ratios of sums, the mean over the way, and how its interval widens."""

import numpy as np
import pytest

from playbook.analysis.noise_scale import PARTS, NoiseMeasured, noise_scale

WAY = [(part + 0.5) / PARTS for part in range(PARTS)]


def test_it_is_the_mean_over_the_way_of_the_ratio_of_sums():
    measured = [
        NoiseMeasured(run, progress, 100 * (1 + place), 2) for run in (0, 1) for place, progress in enumerate(WAY)
    ]
    measured.append(NoiseMeasured(0, WAY[0], 1000, 1))  # 100, 100 and 1000 over 2, 2 and 1
    found = noise_scale(measured)
    assert found.parts == pytest.approx((240, 100, 150, 200))
    assert found.scale.value == pytest.approx(np.mean(found.parts))


def test_the_end_of_the_way_belongs_to_its_last_part():
    found = noise_scale([NoiseMeasured(0, progress, 10, 1) for progress in (*WAY[:-1], 1.0, 1.02)])
    assert found.parts[-1] == 10


def test_one_noisy_measurement_without_signal_does_not_undo_the_rest():
    measured = [NoiseMeasured(run, progress, 100, 2) for run in range(3) for progress in WAY]
    assert noise_scale([*measured, NoiseMeasured(0, WAY[1], 100, -1)]).parts[1] == pytest.approx(400 / 5)


def test_without_signal_or_measurements_there_is_none():
    assert noise_scale([]) is None
    assert noise_scale([NoiseMeasured(0, WAY[0], 100, 2)]) is None  # nothing of the rest of the way
    assert noise_scale([NoiseMeasured(0, progress, 100, -2) for progress in WAY]) is None


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    generator, held = np.random.default_rng(1), 0
    for _ in range(100):
        measured = []
        for run in range(12):
            scale = 50 * np.exp(0.3 * generator.standard_normal())
            measured += [NoiseMeasured(run, progress, scale, 1.0) for progress in WAY]
        found = noise_scale(measured).scale
        held += found.low <= 50 * np.exp(0.3**2 / 2) <= found.high
    assert 83 <= held <= 99
