"""A user's .npz file: what is read, when, and what is refused."""

import io
import pickle

import numpy as np
import pytest
import torch

from playbook.data import Arrays
from playbook.errors import InputError

RANDOM = np.random.default_rng(0)
TABLE = RANDOM.normal(size=(50, 3))
CLASSES = np.arange(50) % 4
SCORES = RANDOM.normal(5, 2, 50)
IMAGES = RANDOM.integers(0, 256, (50, 3, 6, 5), dtype=np.uint8)


def source(folder, arrays, **options):
    np.savez(folder / "mine.npz", **arrays)
    return Arrays("mine.npz", root=str(folder), **options)


def test_a_table_of_classes(tmp_path):
    data = source(tmp_path, {"inputs": TABLE, "targets": CLASSES})
    assert data.num_classes == 4
    assert [len(data.load(name)) for name in ("train", "val", "test")] == [32, 10, 8]
    split = data.load("val")
    rows = data._indices["val"].numpy()
    train = TABLE[data._indices["train"].numpy()]
    np.testing.assert_allclose(split.inputs, (TABLE[rows] - train.mean(0)) / train.std(0), atol=1e-6)
    assert split.targets.tolist() == CLASSES[rows].tolist()


@pytest.mark.parametrize("targets", [SCORES, np.stack([SCORES, SCORES**2], axis=1)])
def test_regression(tmp_path, targets):
    data = source(tmp_path, {"inputs": TABLE, "targets": targets})
    assert data.num_classes is None
    expected = targets.reshape(50, -1)
    for name in ("train", "val", "test"):
        np.testing.assert_allclose(data.load(name).targets, expected[data._indices[name].numpy()], rtol=1e-5)
        assert data.load(name).targets.dtype == torch.float32


@pytest.mark.parametrize("images", [IMAGES, IMAGES[:, 0], IMAGES.astype(np.float16), IMAGES.astype(np.float64)])
def test_images_in_both_storages(tmp_path, images):
    arrays = {"inputs": images, "targets": CLASSES}
    fast, stored = (source(tmp_path, arrays, in_memory=kind, flip=True).load("train") for kind in (True, False))
    assert fast.input_shape == ((3, 6, 5) if images.ndim == 4 else (1, 6, 5))
    indices = torch.tensor([4, 0, 9])
    assert torch.equal(fast.batch(indices)[0], stored.batch(indices)[0])
    assert stored.inputs.dtype == (torch.float32 if images.dtype == np.float16 else getattr(torch, str(images.dtype)))


def test_a_feature_and_a_target_that_outliers_hide_are_named(tmp_path):
    inputs, targets = np.vstack([TABLE] * 4), np.tile(SCORES, 4)
    assert source(tmp_path, {"inputs": inputs, "targets": targets}).caveats() == []
    data = source(tmp_path, {"inputs": inputs, "targets": targets}, val_fraction=0.1, test_fraction=0)
    row = int(data._indices["train"][0])
    inputs[row, 2], targets[row] = 1e200, -1e30
    feature, target = source(
        tmp_path, {"inputs": inputs, "targets": targets}, val_fraction=0.1, test_fraction=0
    ).caveats()
    assert feature.startswith("feature 2: a few values, up to 1e+200, are so far out")
    assert target.startswith("target 0: a few values, up to 1e+30, are so far out")


def test_splits_of_the_file_are_used_as_they_are_and_the_test_arrays_are_not_touched(tmp_path):
    unreadable = np.array([object()], dtype=object)  # reading it raises
    arrays = {"inputs": TABLE, "targets": CLASSES, "val_inputs": TABLE[:5] + 9, "val_targets": CLASSES[:5]}
    data = source(tmp_path, {**arrays, "test_inputs": unreadable, "test_targets": unreadable})
    assert (len(data.load("train")), len(data.load("val"))) == (50, 5)
    np.testing.assert_allclose(data.load("val").inputs, (TABLE[:5] + 9 - TABLE.mean(0)) / TABLE.std(0), atol=1e-5)
    with pytest.raises(InputError, match="test_inputs cannot be read"):
        data.load("test")


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_nothing_is_unpickled(tmp_path):
    arrays = {"inputs": np.array([Bomb()], dtype=object), "targets": CLASSES}
    with pytest.raises(InputError, match="inputs cannot be read"):
        source(tmp_path, arrays).load("train")
    (tmp_path / "mine.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match=r"not an .npz file"):
        Arrays("mine.npz", root=str(tmp_path)).load("train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": TABLE, "y": CLASSES}, "found the arrays X, y, expected inputs among them"),
        ({"inputs": TABLE}, "expected targets among them"),
        ({"inputs": TABLE, "targets": CLASSES[:-1]}, "found 50 inputs and 49 targets"),
        ({"inputs": TABLE[:0], "targets": CLASSES[:0]}, "at least one"),
        ({"inputs": TABLE.astype(int), "targets": CLASSES}, "found inputs of int64"),
        ({"inputs": TABLE[:, 0], "targets": CLASSES}, "expected floats or uint8 of shape"),
        ({"inputs": IMAGES.transpose(0, 2, 3, 1), "targets": CLASSES}, r"save inputs.transpose\(0, 3, 1, 2\)"),
        ({"inputs": np.where(TABLE > 2, np.nan, TABLE), "targets": CLASSES}, "found nan or infinity in inputs"),
        ({"inputs": TABLE, "targets": np.full(50, np.inf)}, "found nan or infinity in targets"),
        ({"inputs": TABLE, "targets": CLASSES - 1}, "found class -1 in targets"),
        ({"inputs": TABLE, "targets": CLASSES[:, None]}, "expected integers"),
        ({"inputs": TABLE, "targets": CLASSES.astype(str)}, "expected integers"),
        ({"inputs": TABLE, "targets": np.int64(3)}, "found a single number for targets"),
    ],
)
def test_arrays_that_cannot_be_used_are_one_line(tmp_path, arrays, message):
    with pytest.raises(InputError, match=message) as error:
        source(tmp_path, arrays).load("train")
    assert "\n" not in str(error.value)
    assert str(tmp_path / "mine.npz") in str(error.value)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ({"val_inputs": TABLE[:, :2], "val_targets": CLASSES}, r"found val_inputs of float64 \(2,\), expected"),
        ({"val_inputs": TABLE, "val_targets": SCORES}, "found val_targets of float64"),
        ({"val_inputs": TABLE, "val_targets": CLASSES + 1}, "found class 4 in val_targets, expected 0 to 3"),
        ({"val_inputs": TABLE}, "expected val_targets among them"),
        ({"val_targets": CLASSES}, "expected val_inputs among them"),
    ],
)
def test_a_validation_split_unlike_the_training_split_is_refused(tmp_path, val, message):
    with pytest.raises(InputError, match=message):
        source(tmp_path, {"inputs": TABLE, "targets": CLASSES, **val}).load("val")


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"data.path: there is no file .*mine.npz"):
        Arrays("mine.npz", root=str(tmp_path)).load("train")
    data = source(tmp_path, {"inputs": TABLE, "targets": CLASSES}, test_fraction=0.0)
    assert len(data.load("train")) == 40
    with pytest.raises(InputError, match="has no test_inputs"):
        data.load("test")
    with pytest.raises(InputError, match=r"data.crop_padding and data.flip are for images"):
        source(tmp_path, {"inputs": TABLE, "targets": CLASSES}, flip=True).load("train")


def test_a_truncated_file_is_refused(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, inputs=TABLE, targets=CLASSES)
    (tmp_path / "mine.npz").write_bytes(stream.getvalue()[:-200])
    with pytest.raises(InputError, match=r"not an .npz file"):
        Arrays("mine.npz", root=str(tmp_path)).load("train")
