"""A batch is the same bits from memory, from workers, after a jump, and from any number of ranks."""

import itertools
import multiprocessing
import pickle
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from playbook.data import (
    CropFlip,
    DatasetSplit,
    Digits,
    PassLoader,
    StepLoader,
    StoredSplit,
    TensorSplit,
)
from playbook.data.order import StepOrder
from playbook.errors import InputError

AUGMENTATIONS = [None, CropFlip(2, True)]
SETTINGS = {"batch_size": 200, "seed": 4, "num_steps": 9}  # 1168 examples: the sixth batch straddles two permutations


@pytest.fixture(scope="module")
def in_memory() -> TensorSplit:
    split = Digits().load("train")
    assert isinstance(split, TensorSplit)
    return split


@pytest.fixture(scope="module")
def stored() -> StoredSplit:
    split = Digits(in_memory=False).load("train")
    assert isinstance(split, StoredSplit)
    return split


class Noisy(Dataset):
    """A map-style data set that draws from all three default generators, as people's transforms do."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.inputs = inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.inputs[index] + torch.tensor([[torch.rand(()), np.random.rand(), random.random()] * 3])[0, :8]


class Targeted(Dataset):
    """A map-style data set that gives a target of its own, and something else."""

    def __init__(self, inputs: torch.Tensor, targets: Sequence[Any]) -> None:
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any, str]:
        return self.inputs[index], self.targets[index], "the rest of an item is not used"


def random_states() -> list[Any]:
    return [torch.get_rng_state().tolist(), [str(part) for part in np.random.get_state()], random.getstate()]


def assert_same(first, second) -> None:
    pairs = list(zip(first, second, strict=True))
    assert pairs
    for (inputs, targets), (other_inputs, other_targets) in pairs:
        assert torch.equal(inputs, other_inputs)
        assert torch.equal(targets, other_targets)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_storage_and_workers_do_not_change_a_bit(in_memory, stored, augmentation, num_workers):
    expected = StepLoader(in_memory, augmentation=augmentation, **SETTINGS)
    assert_same(expected, StepLoader(stored, augmentation=augmentation, num_workers=num_workers, **SETTINGS))


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_jump_to_a_step_gives_the_batches_from_there(in_memory, stored, augmentation, num_workers):
    split = stored if num_workers else in_memory
    everything = StepLoader(split, augmentation=augmentation, **SETTINGS)
    tail = StepLoader(split, augmentation=augmentation, start_step=5, num_workers=num_workers, **SETTINGS)
    assert (len(everything), len(tail)) == (9, 4)
    assert_same(itertools.islice(everything, 5, None), tail)


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_shares_of_ranks_are_the_batch_of_one_process(in_memory, augmentation):
    whole = StepLoader(in_memory, augmentation=augmentation, **SETTINGS)
    ranks = [StepLoader(in_memory, augmentation=augmentation, rank=rank, world_size=4, **SETTINGS) for rank in range(4)]
    joined = (
        (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])) for parts in zip(*ranks, strict=True)
    )
    assert_same(whole, joined)


def test_batches_hold_the_examples_of_their_step(in_memory):
    order = StepOrder(len(in_memory), batch_size=200, seed=4)
    for step, (inputs, targets) in enumerate(StepLoader(in_memory, **SETTINGS)):
        indices = order(step).numpy()
        assert (inputs.numpy() == in_memory.inputs.numpy()[indices]).all()
        assert (targets.numpy() == in_memory.targets.numpy()[indices]).all()


def test_augmentation_differs_by_step_and_by_seed(in_memory):
    split = TensorSplit(in_memory.inputs[:1], in_memory.targets[:1])  # one example: only augmentation can differ

    def images(seed):
        loader = StepLoader(split, batch_size=8, seed=seed, num_steps=2, augmentation=CropFlip(2, True))
        return [inputs for inputs, _ in loader]

    first, second = images(0)
    assert not torch.equal(first, second)
    assert not torch.equal(first, images(1)[0])
    assert torch.equal(first, images(0)[0])


def test_a_data_set_that_draws_is_a_function_of_the_step_too(in_memory):
    split = DatasetSplit(Noisy(in_memory.inputs[:50]), in_memory.targets[:50])
    settings = {"batch_size": 16, "seed": 0, "num_steps": 5}
    here = list(StepLoader(split, **settings))
    assert_same(here, StepLoader(split, num_workers=2, **settings))
    assert_same(here[3:], StepLoader(split, num_workers=2, start_step=3, **settings))
    assert here[0][0].shape == (16, *split.input_shape)


def test_a_data_set_that_draws_gives_the_same_in_every_pass(in_memory):
    split = DatasetSplit(Noisy(in_memory.inputs[:50]), in_memory.targets[:50])
    here = PassLoader(split, batch_size=8)
    first = list(here)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert_same(first, here)
    assert_same(first, PassLoader(split, batch_size=8, num_workers=2))
    ranks = [PassLoader(split, batch_size=8, rank=rank, world_size=2) for rank in range(2)]
    rounds = itertools.zip_longest(*ranks)
    assert_same(first, [batch for batches in rounds for batch in batches if batch is not None])
    assert not torch.equal(first[0][0] - in_memory.inputs[:8], first[1][0] - in_memory.inputs[8:16])  # noise differs


@pytest.mark.parametrize(
    ("targets", "own"),
    [
        (torch.arange(6), [5, 4, 3, 2, 1, 0]),
        (torch.arange(6), list(torch.arange(6).int().flip(0))),
        (torch.arange(6), list(np.arange(6)[::-1])),
        (torch.zeros(6, 1), [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]),
        (torch.zeros(6, 2), [[float(i), 0.5] for i in range(6)]),
        (torch.zeros(6, 2), list(np.arange(12.0).reshape(6, 2))),
    ],
)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_targets_that_a_data_set_gives_are_trained_and_judged_on(in_memory, targets, own, num_workers):
    split = DatasetSplit(Targeted(in_memory.inputs[:6], own), targets)
    expected = torch.tensor(np.array([np.asarray(target) for target in own])).to(targets.dtype).reshape(targets.shape)
    passed = torch.cat([batch for _, batch in PassLoader(split, batch_size=4, num_workers=num_workers)])
    assert passed.dtype == targets.dtype
    assert torch.equal(passed, expected)
    order = StepOrder(6, batch_size=4, seed=0)
    for step, (_, batch) in enumerate(StepLoader(split, batch_size=4, seed=0, num_steps=3, num_workers=num_workers)):
        assert torch.equal(batch, expected[order(step)])


@pytest.mark.parametrize(
    ("targets", "own", "kind"),
    [
        (torch.arange(6), [0.5] * 6, r"float32 \(\), and targets are int64 \(6,\)"),
        (torch.arange(6), [torch.rand(10)] * 6, r"float32 \(10,\)"),  # mixed up: no class any more
        (torch.arange(6), ["a name"] * 6, "str"),
        (torch.zeros(6, 2), [1] * 6, r"int64 \(\), and targets are float32 \(6, 2\)"),
        (torch.zeros(6, 2), [[1.0, 2.0, 3.0]] * 6, r"float32 \(3,\)"),
    ],
)
def test_a_target_of_another_kind_is_refused(in_memory, targets, own, kind):
    with pytest.raises(InputError, match=f"the data set gives a target .* of {kind}"):
        DatasetSplit(Targeted(in_memory.inputs[:6], own), targets)


def test_a_split_without_examples_is_refused(in_memory):
    empty = in_memory.inputs[:0]
    for make in (lambda: DatasetSplit(Noisy(empty), torch.arange(0)), lambda: TensorSplit(empty, torch.arange(0))):
        with pytest.raises(InputError, match="a split without examples"):
            make()


def test_a_data_set_and_targets_that_do_not_fit_are_refused(in_memory):
    data = Noisy(in_memory.inputs[:50])
    with pytest.raises(InputError, match="the data set has 50 examples and 49 targets"):
        DatasetSplit(data, in_memory.targets[:49])
    with pytest.raises(InputError, match=r"targets are float64 \(50, 1\): give float32"):
        DatasetSplit(data, torch.zeros(50, 1, dtype=torch.float64))


def test_tensors_that_do_not_fit_are_refused(in_memory):
    inputs, targets = in_memory.inputs[:50], in_memory.targets[:50]
    for make in (TensorSplit, lambda *given: StoredSplit(*given, lambda tree: tree)):
        with pytest.raises(InputError, match="inputs and targets have 49 and 50 rows"):
            make(inputs, targets[:49])
        with pytest.raises(InputError, match="inputs and targets have 40 and 50 rows"):
            make({"left": inputs, "right": inputs[:40]}, targets)
    with pytest.raises(InputError, match=r"inputs are float64 \(50, \d.*: give float32"):
        TensorSplit(inputs.double(), targets)


def test_loaders_reach_workers_that_do_not_share_memory(stored):
    loader = StepLoader(stored, augmentation=CropFlip(2, True), **SETTINGS)
    copy = pickle.loads(pickle.dumps(loader._make_batch))  # what a spawned worker gets, as on macOS
    assert_same(loader, [copy[step] for step in range(9)])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_default_generator_is_left_alone(in_memory, stored, num_workers):
    noisy = DatasetSplit(Noisy(in_memory.inputs), in_memory.targets)
    for split in (in_memory, stored, noisy) if num_workers == 0 else (noisy,):
        before = random_states()
        for _ in StepLoader(split, augmentation=CropFlip(1, True), num_workers=num_workers, **SETTINGS):
            assert random_states() == before
        for _ in PassLoader(split, batch_size=500, num_workers=num_workers):
            assert random_states() == before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_wait_for_a_batch_is_told(stored, num_workers):
    loader = StepLoader(stored, num_workers=num_workers, **SETTINGS)
    assert loader.wait_seconds == 0
    for _ in loader:
        assert loader.wait_seconds > 0


def test_workers_end_with_the_loop_that_used_them(stored):
    for _ in StepLoader(stored, num_workers=2, **SETTINGS):
        assert len(multiprocessing.active_children()) == 2
        break
    assert multiprocessing.active_children() == []


def test_workers_end_with_the_pass_and_are_no_more_than_its_batches(stored):
    loader = PassLoader(stored, batch_size=1000, num_workers=5)
    for _ in range(2):
        for _ in loader:
            assert len(multiprocessing.active_children()) == 2
        assert multiprocessing.active_children() == []


def test_no_steps_are_no_batches(in_memory, stored):
    for split in (in_memory, stored):
        loader = StepLoader(split, batch_size=4, seed=0, num_steps=7, start_step=7, num_workers=2)
        assert (len(loader), list(loader)) == (0, [])


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (1, 2), (3, 0)])
def test_a_pass_sees_each_example_once_in_order(stored, in_memory, world_size, num_workers):
    loaders = [
        PassLoader(stored, batch_size=100, rank=rank, world_size=world_size, num_workers=num_workers)
        for rank in range(world_size)
    ]
    for _ in range(2):
        rounds = itertools.zip_longest(*loaders)  # rank after rank, as one process would have them
        batches = [batch for each in rounds for batch in each if batch is not None]
        assert len(batches) == sum(len(loader) for loader in loaders)
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), in_memory.inputs)
        assert torch.equal(torch.cat([targets for _, targets in batches]), in_memory.targets)
    assert sum(loader.num_examples for loader in loaders) == len(in_memory)
    assert max(map(len, loaders)) - min(map(len, loaders)) <= 1


def test_a_pass_over_chosen_examples_and_over_fewer_examples_than_ranks(in_memory):
    chosen = torch.tensor([7, 3, 900])
    ((inputs, targets),) = PassLoader(in_memory, batch_size=8, indices=chosen)
    assert torch.equal(inputs, in_memory.inputs[chosen])
    assert torch.equal(targets, in_memory.targets[chosen])
    ranks = [PassLoader(in_memory, batch_size=1, indices=chosen, rank=rank, world_size=5) for rank in range(5)]
    assert [loader.num_examples for loader in ranks] == [1, 1, 1, 0, 0]
    assert torch.equal(torch.cat([targets for loader in ranks for _, targets in loader]), in_memory.targets[chosen])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_a_gpu_gets_the_same_bits_without_waiting_for_it(in_memory, stored, augmentation):
    expected = list(StepLoader(in_memory, augmentation=augmentation, **SETTINGS))
    for split in (in_memory.to("cuda"), stored):
        loader = iter(StepLoader(split, augmentation=augmentation, device="cuda", **SETTINGS))
        batches = [next(loader)]  # the first permutation and the allocator's first blocks
        torch.cuda.set_sync_debug_mode("error" if split is not stored else "default")
        try:
            batches += list(loader)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert_same(expected, [(inputs.cpu(), targets.cpu()) for inputs, targets in batches])
