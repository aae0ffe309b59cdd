"""The order of examples is a function of (seed, step, rank)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from playbook.data.order import StepOrder
from playbook.errors import InputError
from playbook.randomness import Stream, fold_in


def stream_of(seed: int, num_examples: int, length: int) -> list[int]:
    """The endless stream of permutations, written out as one Python list."""
    stream: list[int] = []
    epoch = 0
    while len(stream) < length:
        generator = torch.Generator()
        generator.manual_seed(fold_in(seed, Stream.ORDER, epoch))
        stream += torch.randperm(num_examples, generator=generator).tolist()
        epoch += 1
    return stream


@given(
    num_examples=st.integers(1, 40),
    share=st.integers(1, 30),
    world_size=st.integers(1, 4),
    step=st.integers(0, 20),
    seed=st.integers(0, 5),
)
def test_a_step_is_a_slice_of_the_stream_of_permutations(num_examples, share, world_size, step, seed):
    batch_size = share * world_size
    expected = stream_of(seed, num_examples, batch_size * (step + 1))[batch_size * step :]
    shares = [
        StepOrder(num_examples, batch_size=batch_size, seed=seed, rank=rank, world_size=world_size)(step)
        for rank in range(world_size)
    ]
    assert torch.cat(shares).tolist() == expected[:batch_size]
    assert all(len(part) == share for part in shares)


@given(steps=st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_kept_permutations_do_not_change_a_step(steps):
    order = StepOrder(11, batch_size=26, seed=3)
    for step in steps:
        assert order(step).tolist() == StepOrder(11, batch_size=26, seed=3)(step).tolist()


def test_each_pseudo_epoch_sees_each_example_once():
    order = StepOrder(12, batch_size=4, seed=0)
    seen = torch.cat([order(step) for step in range(9)])
    for epoch in seen.split(12):
        assert sorted(epoch.tolist()) == list(range(12))


def test_the_order_differs_by_seed_and_by_pseudo_epoch():
    first, second = (StepOrder(50, batch_size=100, seed=seed)(0) for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert first[:50].tolist() != first[50:].tolist()


def test_the_order_is_the_one_of_earlier_versions():
    assert StepOrder(10, batch_size=4, seed=0)(3).tolist() == [4, 0, 6, 3]


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(InputError, match=r"batch_size=65 .* 2 processes: type a positive multiple of 2"):
        StepOrder(100, batch_size=65, seed=0, world_size=2)
    with pytest.raises(InputError, match="batch_size=0"):
        StepOrder(100, batch_size=0, seed=0)
