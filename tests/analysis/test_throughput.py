"""What throughput over batch sizes says, on machines whose parts are known: seconds = fixed + wait·B + compute(B)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.analysis.throughput import Pass, Size, has_stopped_growing, noise_of, parts_of, scaling, throughput_ratio

SIZES = [2**power for power in range(4, 12)]


def machine(batch_sizes=SIZES, *, fixed=1e-3, wait=0.0, each=1e-5, idle_below=0, noise=0.0, passes=3, seed=0):
    """A step takes `fixed` and, an example, `wait` and `each`; below `idle_below` examples are computed for nothing."""
    random = np.random.default_rng(seed)
    drift = 1 + noise * random.standard_normal(passes)  # of a whole pass, which favours no size
    found = []
    for size in batch_sizes:
        step = fixed + wait * size + each * max(size, idle_below)
        blocks = [
            tuple((drift[number] * step * (1 + noise / 5 * random.standard_normal(8))).tolist())
            for number in range(passes)
        ]
        found.append(Size(size, tuple(Pass(each, (wait * size,) * 8) for each in blocks)))
    return found


def smallest_fast_one(fixed, each, wait, within):
    """The same by the formula, without a measurement."""
    throughput = {size: size / (fixed + (each + wait) * size) for size in SIZES}
    return min(size for size in SIZES if throughput[size] >= (1 - within) * max(throughput.values()))


@settings(max_examples=30)
@given(st.floats(1e-5, 1e-2), st.floats(1e-7, 1e-3), st.floats(0, 1e-3), st.sampled_from([0.02, 0.05, 0.2]))
def test_the_knee_is_that_of_the_formula(fixed, each, wait, within):
    found = scaling(machine(fixed=fixed, each=each, wait=wait), "saturated", within)
    assert found.knee.batch_size == smallest_fast_one(fixed, each, wait, within)
    assert found.told
    assert found.knee_range == (found.knee.batch_size,) * 2


def test_a_step_is_taken_apart():
    for size, parts in parts_of(machine(fixed=2e-3, wait=3e-6, each=5e-6)).items():
        assert parts.fixed == pytest.approx(2e-3, rel=1e-6)
        assert parts.input == pytest.approx(3e-6 * size, rel=1e-6)
        assert parts.compute == pytest.approx(5e-6 * size, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "ended", "bound_by"),
    [
        ({"fixed": 1e-4, "each": 1e-5}, "saturated", "compute"),
        ({"fixed": 1e-4, "each": 1e-6, "wait": 1e-4}, "saturated", "input"),
        ({"fixed": 1e-2, "each": 1e-6}, "memory", "memory"),
        ({"fixed": 1e-2, "each": 1e-6}, "data", "fixed cost"),
        ({"fixed": 1e-5, "each": 1e-5}, "memory", "compute"),  # more memory would not make it faster
    ],
)
def test_what_bounds_it_is_named(given, ended, bound_by):
    assert scaling(machine(**given, noise=0.01), ended, 0.05).bound_by == bound_by


def test_devices_that_wait_for_each_other_are_named():
    alone, both = machine(fixed=1e-3, each=1e-5), machine(fixed=19e-3, each=0.5e-5)
    shared = [
        Size(two.batch_size, tuple(Pass(b.seconds, b.waits, (5e-6 * two.batch_size,) * 8) for b in two.passes))
        for two in both
    ]
    assert scaling(shared, "data", 0.05).bound_by == "synchronisation"
    assert scaling(alone, "data", 0.05).bound_by != "synchronisation"


def test_a_doubling_that_does_not_double_says_what_grew():
    loader = scaling(machine(fixed=1e-3, wait=2e-5, each=1e-6), "saturated", 0.05)
    assert loader.short[0].batch_size == 16
    assert all(each.adds == "input" for each in loader.short)
    gpu = scaling(machine(fixed=1e-6, each=1e-5, idle_below=256), "saturated", 0.05)
    assert gpu.short == ()  # below saturation it doubles
    assert gpu.knee.batch_size == 256


def test_a_drift_of_the_machine_does_not_decide():
    sizes = machine(fixed=1e-3, each=1e-5, noise=0.2, passes=5, seed=3)
    medians = [[float(np.median(each.seconds)) for each in size.passes] for size in sizes]
    assert max(medians[0]) > 1.2 * min(medians[0])  # the passes differ by more than the tolerance
    quiet = scaling(machine(fixed=1e-3, each=1e-5), "saturated", 0.08)
    assert scaling(sizes, "saturated", 0.08).knee.batch_size == quiet.knee.batch_size


def test_passes_that_disagree_do_not_tell():
    random = np.random.default_rng(0)
    sizes = [
        Size(size, tuple(Pass((size * 1e-5 * math.exp(random.normal(0, 0.5)),) * 8, (0.0,) * 8) for _ in range(2)))
        for size in SIZES
    ]
    assert not scaling(sizes, "saturated", 0.05).told


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says():
    truth, inside = 2.0, 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        one = Size(2, tuple(Pass((math.exp(random.normal(0, 0.1)),), (0.0,)) for _ in range(4)))
        two = Size(1, tuple(Pass((math.exp(random.normal(0, 0.1)),), (0.0,)) for _ in range(4)))
        ratio = throughput_ratio(one, two, noise_of([one, two]))
        inside += ratio.low <= truth <= ratio.high
    assert 0.92 < inside / 400 < 0.98


def test_growth_has_stopped_after_two_sizes_that_bring_nothing():
    assert not has_stopped_growing([1, 2])
    assert not has_stopped_growing([1, 2, 2.04])
    assert has_stopped_growing([1, 2, 2.04, 2.05])
    assert not has_stopped_growing([1, 2, 1.9, 2.2])  # one slow size is no end
