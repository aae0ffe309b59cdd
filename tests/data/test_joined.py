"""Two splits as one: the examples of a batch are those of a plain list of all of them, in the order of the indices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from playbook.data import DatasetSplit, Digits, JoinedSplit, StreamSplit, TensorSplit, Text
from playbook.errors import InputError


def tree_split(first, size):
    numbers = torch.arange(first, first + size)
    inputs = {"image": numbers[:, None].float(), "id": numbers}
    return TensorSplit(inputs, numbers)


def stored(first, size):
    numbers = torch.arange(first, first + size)
    return DatasetSplit([(torch.tensor([float(n)]), n) for n in numbers.tolist()], numbers)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
def test_a_batch_has_the_examples_of_its_indices(indices, in_memory):
    kind = tree_split if in_memory else stored
    joined = JoinedSplit(kind(0, 7), kind(7, 3))
    assert joined.in_memory == in_memory
    assert len(joined) == 10
    assert joined.targets.tolist() == list(range(10))
    batch = joined.batch(torch.tensor(indices))
    found = batch.inputs["id"] if in_memory else batch.inputs[:, 0]
    assert found.tolist() == indices
    assert batch.targets.tolist() == indices


class Endless(StreamSplit):
    def batch(self, indices):
        raise NotImplementedError


def test_what_cannot_be_joined_is_refused():
    with pytest.raises(InputError, match="without an end"):
        JoinedSplit(Endless((1,)), stored(0, 3))
    with pytest.raises(InputError, match=r"inputs are \(1,\) in training and \(2,\)"):
        JoinedSplit(stored(0, 3), TensorSplit(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)))


def test_digits_fold_to_all_but_the_test_examples():
    source = Digits()
    folded, test = source.load_folded(), source.load("test")
    assert len(folded) + len(test) == 1797
    indices = torch.arange(len(folded))
    held_out = {row.numpy().tobytes() for row in test.inputs}
    assert not {row.numpy().tobytes() for row in folded.batch(indices).inputs} & held_out
    assert np.bincount(folded.targets).tolist() == (np.bincount(source._all[1]) - np.bincount(test.targets)).tolist()


def test_text_folds_to_windows_that_begin_anywhere_before_the_test_part(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(bytes(range(65, 91)) * 40)
    source = Text(str(path), context=8)
    folded = source.load_folded()
    train, val, test = (source.load(name).tokens for name in ("train", "val", "test"))
    assert folded.tokens.tolist() == [*train.tolist(), *val.tolist()]
    assert folded.stride == 1
    assert len(folded) == len(train) + len(val) - 8
    assert len(test) > 0
