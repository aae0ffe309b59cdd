"""The readers of binary files: what was written comes back, and every kind of damage is one line."""

import gzip
import tracemalloc

import numpy as np
import pytest

from playbook.data import formats
from playbook.data.formats import read_cifar, read_cifar_archive, read_idx, read_idx_pair
from playbook.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 2, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


def one_line(error: pytest.ExceptionInfo[InputError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_idx_files_come_back(tmp_path, compress):
    path = tmp_path / "images"
    path.write_bytes(compress(idx(PIXELS)))
    assert (read_idx(path, (2, 3)).numpy() == PIXELS).all()


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (idx(PIXELS)[:-1], "found 51 bytes, expected 52 for 6 elements"),
        (idx(PIXELS) + b"x", "found 53 bytes or more, expected 52"),
        (idx(PIXELS)[:9], "found 9 bytes, expected a header of 16"),
        (b"", "found magic bytes , expected 00 00 08 03"),
        (b"<html>not found</html>", "found magic bytes 3c 68 74 6d"),
        (idx(LABELS), "found magic bytes 00 00 08 01, expected 00 00 08 03"),
        (bytes([0, 0, 13, 3]) + idx(PIXELS)[4:], "found magic bytes 00 00 0d 03"),
        (idx(PIXELS.reshape(6, 3, 2)), "found elements of shape (3, 2), expected (2, 3)"),
        (gzip.compress(idx(PIXELS), mtime=0)[:-12], "damaged gzip"),
        (gzip.compress(idx(PIXELS), mtime=0)[:-8] + b"00000000", "damaged gzip"),
        (gzip.compress(idx(PIXELS), mtime=0)[:12] + b"\xff" * 40, "damaged gzip"),
    ],
)
def test_damage_to_an_idx_file_is_one_line(tmp_path, content, found):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_idx(path, (2, 3))
    one_line(error, str(path), found)


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(idx(PIXELS) + bytes(1 << 26)))
    assert path.stat().st_size < 1 << 17
    tracemalloc.start()
    with pytest.raises(InputError, match="found 53 bytes or more, expected 52 for 6 elements"):
        read_idx(path, (2, 3))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 22
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + b"\xff" * 4 + idx(PIXELS)[8:] + bytes(1 << 20)))
    monkeypatch.setattr(formats, "bytes_of_memory", lambda: 1 << 30)
    with pytest.raises(InputError, match=r"a header that says 25\.8 GB, which do not fit twice into 1\.1 GB"):
        read_idx(path, (2, 3))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (LABELS[:-1], "found 5 labels, expected 6"),
        (LABELS + 1, "found label 3, expected 0 to 2"),
    ],
)
def test_labels_that_do_not_fit_are_one_line(tmp_path, labels, found):
    (tmp_path / "images").write_bytes(idx(PIXELS))
    (tmp_path / "labels").write_bytes(idx(labels))
    with pytest.raises(InputError) as error:
        read_idx_pair(tmp_path / "images", tmp_path / "labels", image_shape=(2, 3), num_classes=3)
    one_line(error, str(tmp_path / "labels"), found)


def test_no_images_are_one_line(tmp_path):
    (tmp_path / "images").write_bytes(idx(PIXELS[:0]))
    (tmp_path / "labels").write_bytes(idx(LABELS[:0]))
    with pytest.raises(InputError, match="found no labels"):
        read_idx_pair(tmp_path / "images", tmp_path / "labels", image_shape=(2, 3), num_classes=3)


def test_cifar_records_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "CIFAR_RECORDS_PER_FILE", 2)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(b"".join(bytes([label]) + image.tobytes() for label, image in zip((7, 9), images, strict=True)))
    pixels, labels = read_cifar(path)
    assert (pixels.numpy() == images).all()
    assert labels.tolist() == [7, 9]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (bytes(2 * 3073 - 1), "found 6145 bytes, expected 6146 (2 records of 3073)"),
        (bytes(3 * 3073), "found 6147 bytes or more, expected 6146"),
        (b"", "found 0 bytes"),
        (b"\x0a" + bytes(2 * 3073 - 1), "found label 10, expected 0 to 9"),
    ],
)
def test_damage_to_a_cifar_file_is_one_line(tmp_path, monkeypatch, content, found):
    monkeypatch.setattr(formats, "CIFAR_RECORDS_PER_FILE", 2)
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_cifar(path)
    one_line(error, str(path), found)


def test_damage_to_the_archive_is_one_line(tmp_path):
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("readme.html"))
        member = tarfile.TarInfo("data")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(np.random.default_rng(0).bytes(member.size)))
    whole = stream.getvalue()
    path = tmp_path / "cifar-10-binary.tar.gz"
    for content, found in (
        (whole, "found no data_batch_1.bin"),
        (whole[: len(whole) // 2], "damaged archive"),
        (b"<html>", "damaged archive"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            read_cifar_archive(path, ["data_batch_1.bin"])
        one_line(error, str(path), found)
