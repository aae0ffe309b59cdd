"""A trial is a function of its config: of the seed, and neither of the storage nor of when it ran."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from playbook.data import Digits

TIMES = ("data_seconds", "step_seconds")


@pytest.fixture
def image_file(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, inputs=random.integers(0, 256, (90, 8, 8), dtype=np.uint8), targets=np.arange(90) % 3)
    return path


def same_records(one, other) -> None:
    assert one.steps.drop(TIMES).equals(other.steps.drop(TIMES))
    assert one.evals.equals(other.evals)
    assert one.predictions.equals(other.predictions)


def test_workers_and_memory_give_the_same_files(run_trial, image_file):
    data = ["data=arrays", f"data.path={image_file}", "data.crop_padding=2", "data.flip=true", "model.dropout=0.2"]
    in_memory = run_trial(*data, folder="in_memory")
    stored = ["data.in_memory=false", *data]
    same_records(in_memory, run_trial(*stored, folder="stored"))
    same_records(in_memory, run_trial(*stored, "data.num_workers=2", folder="workers"))
    plain = run_trial(*data[:2], "model.dropout=0.2", folder="not_augmented")
    assert plain.steps["loss"].to_list() != in_memory.steps["loss"].to_list()


def test_workers_end_with_the_trial(run_trial):
    # Left to the garbage collector they stay for as long as it likes, and then take five seconds each to go.
    run_trial("data.in_memory=false", "data.num_workers=2")
    assert multiprocessing.active_children() == []


def test_the_same_seed_gives_the_same_files(run_trial):
    settings = ("model.dropout=0.2", "model.norm=ghost_batch", "model.norm_batch_size=16", "seed=7", "keep_best=2")
    one, other = (run_trial(*settings, folder=folder) for folder in ("one", "other"))
    same_records(one, other)
    for name in ("evals.csv", "predictions.csv"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
    for step in one.best_steps:
        weights = other.model(step).state_dict()
        assert all(bool((tensor == weights[name]).all()) for name, tensor in one.model(step).state_dict().items())


def test_another_seed_gives_another_trial_on_the_same_examples(run_trial):
    one, other = (run_trial(f"seed={seed}", folder=str(seed)) for seed in (0, 1))
    assert not set(one.steps["loss"]) & set(other.steps["loss"])
    assert one.result.chance == other.result.chance
    sizes = [run.evals.filter(step=0).filter(metric="val/examples/3")["value"].item() for run in (one, other)]
    assert sizes[0] == sizes[1]


def test_the_split_seed_moves_the_split_and_not_the_initialisation(run_trial):
    runs = [run_trial(f"data.split_seed={seed}", "eval_every=10", "lr=1e-9", folder=str(seed)) for seed in (0, 1)]
    one, other = (
        run.model(0).model.state_dict() if 0 in run.best_steps else run.model().model.state_dict() for run in runs
    )
    for name, tensor in one.items():
        # At this rate ten steps do not move a weight by more than a rounding.
        np.testing.assert_allclose(tensor, other[name], atol=1e-7)
    assert runs[0].steps["loss"].to_list() != runs[1].steps["loss"].to_list()
    assert not Digits(split_seed=0).load("val").inputs.equal(Digits(split_seed=1).load("val").inputs)
    assert runs[0].predictions["target"].to_list() != runs[1].predictions["target"].to_list()


def test_the_generators_of_the_caller_do_not_matter(run_trial):
    import torch

    torch.manual_seed(1)
    one = run_trial("model.dropout=0.2", folder="one")
    torch.manual_seed(2)
    torch.rand(5)
    same_records(one, run_trial("model.dropout=0.2", folder="other"))
