"""Splits and samples: disjoint, exhaustive, exact, stratified, and a function of their arguments alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from playbook.data.stratify import SKEW_LIMIT, fixed_sample, skew, split_indices
from playbook.errors import InputError

labels = st.lists(st.integers(0, 5), min_size=20, max_size=200).map(torch.tensor)
fractions = st.sampled_from([0.1, 0.15, 0.2, 0.3])


@given(targets=labels, val=fractions, test=fractions, seed=st.integers(0, 9))
def test_splits_are_disjoint_exhaustive_exact_and_stratified(targets, val, test, seed):
    splits = split_indices(targets, val_fraction=val, test_fraction=test, split_seed=seed)
    assert sorted(torch.cat(list(splits.values())).tolist()) == list(range(len(targets)))
    assert len(splits["val"]) == round(len(targets) * val)
    assert len(splits["test"]) == round(len(targets) * test)
    for label in targets.unique():
        share = (targets == label).sum() / len(targets)
        for indices in splits.values():
            assert abs((targets[indices] == label).sum() - share * len(indices)) < 2


@given(targets=labels, size=st.integers(1, 250), seed=st.integers(0, 9))
def test_the_fixed_sample_is_sorted_distinct_and_stratified(targets, size, seed):
    sample = fixed_sample(targets, size, seed)
    assert sample.dtype == torch.int64
    assert sample.tolist() == sorted(set(sample.tolist()))
    assert len(sample) == min(size, len(targets))
    for label in targets.unique():
        share = (targets == label).sum() / len(targets)
        assert abs((targets[sample] == label).sum() - share * len(sample)) < 1 + 1e-4


def test_splits_and_samples_depend_on_their_seed_and_not_on_the_default_generators():
    targets = torch.arange(200) % 7
    torch.manual_seed(0)
    np.random.seed(0)
    first = split_indices(targets, val_fraction=0.2, split_seed=1)["val"]
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    sample = fixed_sample(targets, 50, 1)
    assert torch.equal(state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()
    torch.manual_seed(1)
    np.random.seed(1)
    assert torch.equal(first, split_indices(targets, val_fraction=0.2, split_seed=1)["val"])
    assert torch.equal(sample, fixed_sample(targets, 50, 1))
    assert not torch.equal(first, split_indices(targets, val_fraction=0.2, split_seed=2)["val"])
    assert not torch.equal(sample, fixed_sample(targets, 50, 2))


def test_splits_and_samples_are_those_of_earlier_versions():
    targets = torch.arange(30) % 3
    splits = split_indices(targets, val_fraction=0.2, test_fraction=0.1, split_seed=0)
    assert splits["val"].tolist() == [3, 5, 7, 11, 15, 19]
    assert splits["test"].tolist() == [4, 9, 26]
    assert fixed_sample(targets, 6, 0).tolist() == [9, 16, 17, 19, 26, 27]


def test_a_regression_target_is_stratified_by_its_deciles():
    targets = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0))
    sample = fixed_sample(targets, 100, 0)
    deciles = torch.tensor(np.quantile(targets[:, 0], np.arange(1, 10) / 10))
    counts = torch.bucketize(targets[sample, 0], deciles).bincount(minlength=10)
    assert counts.tolist() == [10] * 10


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0.9, 0.2)])
def test_fractions_that_leave_nothing_to_train_on_are_refused(val, test):
    with pytest.raises(InputError, match=r"data.val_fraction=.* their sum must be below 1"):
        split_indices(torch.zeros(100, dtype=torch.int64), val_fraction=val, test_fraction=test, split_seed=0)


def test_a_fraction_of_no_example_is_refused():
    with pytest.raises(InputError, match=r"data.val_fraction=0.01 of 10 examples is none: type at least 0.1"):
        split_indices(torch.zeros(10, dtype=torch.int64), val_fraction=0.01, split_seed=0)


def test_skew_of_known_samples():
    everyone = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    assert skew(everyone, everyone) == 0
    assert skew(torch.tensor([0, 0, 1, 1]), everyone) == pytest.approx(0.5)
    assert skew(torch.tensor([3]), everyone) == pytest.approx(0.75)
    line = torch.arange(100.0)[:, None]
    assert skew(line, line) == 0
    assert skew(line[:25], line) == pytest.approx(0.75)
    assert skew(line[75:], line) == pytest.approx(0.75)
    both = torch.cat([torch.zeros(100, 1), line], 1)  # the worse of two outputs counts
    assert skew(both[:25], both) == pytest.approx(0.75)


@pytest.mark.parametrize("regression", [False, True])
def test_a_sorted_prefix_is_skewed_and_a_fixed_sample_is_not(regression):
    targets = torch.arange(1000).float()[:, None] if regression else torch.arange(1000) // 100
    assert skew(targets[:200], targets) > SKEW_LIMIT
    assert skew(targets[fixed_sample(targets, 200, 0)], targets) < SKEW_LIMIT / 2
