"""The sources that come with the template: what they hold, and what of it a trial can touch."""

import inspect
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from image_files import CIFAR_RECORDS, write_cifar, write_fashion
from omegaconf import OmegaConf
from pydantic import TypeAdapter
from shipped import SHIPPED

import playbook.data
from playbook.data import CIFAR10, Diabetes, Digits, FashionMNIST, StoredSplit, formats
from playbook.errors import InputError

CONFIGS = [
    path
    for name in SHIPPED["data"]
    if (path := Path(__file__).parents[2] / "conf" / "data" / f"{name}.yaml").is_file()
    and OmegaConf.load(path)["_target_"].startswith("playbook.data.")  # a fork's sources have the keys that they like
]


@pytest.fixture
def small_cifar(monkeypatch):
    monkeypatch.setattr(formats, "CIFAR_RECORDS_PER_FILE", CIFAR_RECORDS)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_names_every_key_of_its_class_and_no_other(config):
    block = OmegaConf.load(config)
    source = getattr(playbook.data, block.pop("_target_").removeprefix("playbook.data."))
    parameters = set(inspect.signature(source).parameters)
    assert set(block) == parameters
    hints = get_type_hints(source.__init__, include_extras=True)
    block["path"] = "mine.npz"
    for key, value in OmegaConf.to_container(block, resolve=True).items():
        if key in parameters:
            assert TypeAdapter(hints[key]).validate_python(value, strict=True) == value
    assert {"root", "download", "in_memory", "num_workers", "val_fraction"} <= parameters
    assert ("split_seed" in parameters) == (config.stem != "text")  # a text is cut by position


@pytest.mark.parametrize(
    ("source", "sizes", "shape", "num_classes"),
    [(Digits, (1168, 359, 270), (1, 8, 8), 10), (Diabetes, (288, 88, 66), (10,), None)],
)
def test_embedded_sets(source, sizes, shape, num_classes):
    data = source()
    splits = [data.load(name) for name in ("train", "val", "test")]
    assert tuple(map(len, splits)) == sizes
    assert data.num_classes == num_classes
    for split in splits:
        assert split.input_shape == shape
        inputs, targets = split.batch(torch.arange(len(split)))
        assert inputs.dtype == torch.float32
        assert targets.dtype == (torch.int64 if num_classes else torch.float32)
        assert targets.ndim == (1 if num_classes else 2)


@pytest.mark.parametrize("source", [Digits, Diabetes])
def test_both_storages_give_the_same_bits(source):
    for name in ("train", "val", "test"):
        fast, stored = source().load(name), source(in_memory=False).load(name)
        assert isinstance(stored, StoredSplit)
        for indices in (torch.arange(len(fast)), torch.tensor([5]), torch.tensor([3, 1, 3])):
            for ours, theirs in zip(fast.batch(indices), stored.batch(indices), strict=True):
                assert torch.equal(ours, theirs)


def test_standardisation_is_the_training_splits():
    source = Diabetes()
    table, score = (tensor.numpy() for tensor in source._all)
    train, val = source._indices["train"].numpy(), source._indices["val"].numpy()
    inputs, targets = source.load("val").batch(torch.arange(len(val)))
    np.testing.assert_allclose(inputs, (table[val] - table[train].mean(0)) / table[train].std(0), atol=1e-5)
    np.testing.assert_allclose(targets, score[val])  # in its own units: the task standardises


def test_the_split_seed_moves_the_splits():
    assert torch.equal(Digits().load("val").targets, Digits(split_seed=0).load("val").targets)
    assert not torch.equal(Digits().load("val").targets, Digits(split_seed=1).load("val").targets)


def test_fashion_mnist_trains_without_its_test_files(tmp_path):
    write_fashion(tmp_path / "fashion-mnist", "train", 100)
    source = FashionMNIST(root=str(tmp_path), val_fraction=0.2)
    assert (len(source.load("train")), len(source.load("val"))) == (80, 20)
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte.gz of fashion-mnist was not found in"):
        source.load("test")
    write_fashion(tmp_path, "t10k", 30, seed=1)
    pixels = np.random.default_rng(1).integers(0, 256, (30, 28, 28))
    inputs, targets = source.load("test").batch(torch.arange(30))
    np.testing.assert_allclose(
        inputs[:, 0] * source.standardisation.std + source.standardisation.mean, pixels, atol=1e-3
    )
    assert targets.tolist() == (np.arange(30) % 10).tolist()


def test_cifar_trains_without_its_test_file(tmp_path, small_cifar):
    for number in range(1, 6):
        write_cifar(tmp_path / "cifar-10-batches-bin", f"data_batch_{number}.bin", number)
    source = CIFAR10(root=str(tmp_path), val_fraction=0.1, crop_padding=4)
    assert (len(source.load("train")), len(source.load("val"))) == (90, 10)
    assert source.load("train").input_shape == (3, 32, 32)
    with pytest.raises(InputError, match=r"cifar-10-binary.tar.gz of cifar-10 was not found"):
        source.load("test")
    (tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match="found 4 of the 5 files"):
        CIFAR10(root=str(tmp_path)).load("train")


def test_cifar_from_its_archive_equals_cifar_unpacked(tmp_path, small_cifar):
    import tarfile

    unpacked = tmp_path / "unpacked" / "cifar-10-batches-bin"
    for seed, name in enumerate(["test_batch.bin", *(f"data_batch_{number}.bin" for number in (2, 1, 3, 5, 4))]):
        write_cifar(unpacked, name, seed)
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for path in unpacked.iterdir():
            tar.add(path, arcname=f"cifar-10-batches-bin/{path.name}")
    for split in ("train", "val", "test"):
        first, second = (CIFAR10(root=str(tmp_path / kind)).load(split) for kind in ("unpacked", "packed"))
        assert torch.equal(first.inputs, second.inputs)
        assert torch.equal(first.targets, second.targets)


def test_only_what_is_asked_for_is_augmented():
    assert FashionMNIST().augmentation is None
    assert FashionMNIST(flip=True).augmentation is not None
    assert FashionMNIST(crop_padding=2).augmentation is not None


@pytest.mark.skipif(not FashionMNIST.system_folder.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist():
    source = FashionMNIST(in_memory=False, val_fraction=0.1666667)
    counts = [source.load(name).targets.bincount().tolist() for name in ("train", "val", "test")]
    assert counts == [[5000] * 10, [1000] * 10, [1000] * 10]
    # The published statistics of the 60,000: 0.2860 and 0.3530 of 255.
    assert float(source.standardisation.mean) / 255 == pytest.approx(0.2860, abs=1e-3)
    assert float(source.standardisation.std) / 255 == pytest.approx(0.3530, abs=1e-3)


def test_the_embedded_data_are_scikit_learns_bit_for_bit():
    datasets = pytest.importorskip("sklearn.datasets")
    digits, diabetes = datasets.load_digits(), datasets.load_diabetes(scaled=False)
    images, labels = Digits()._read()
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert (images[:, 0].numpy() == digits.images).all()
    assert (labels.numpy() == digits.target).all()
    table, scores = Diabetes()._read()
    assert table.dtype == torch.float64
    assert table.numpy().tobytes() == diabetes.data.tobytes()
    assert torch.equal(scores, torch.from_numpy(diabetes.target).float()[:, None])
