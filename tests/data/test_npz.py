"""A hostile or damaged archive is one line, and costs neither memory nor time."""

import io
import struct
import zipfile

import numpy as np
import pytest

from playbook.data import Arrays, npz
from playbook.errors import InputError

INPUTS = np.random.default_rng(0).normal(size=(50, 3))
TARGETS = np.arange(50) % 4


def member(array, header=None):
    """The bytes of an array in numpy's format, perhaps with another text for its header."""
    stream = io.BytesIO()
    np.save(stream, array)
    if header is None:
        return stream.getvalue()
    content = stream.getvalue()
    start = 10 + struct.unpack("<H", content[8:10])[0]
    text = header.encode("latin1")
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + content[start:]


def archive(path, inputs, compression=zipfile.ZIP_DEFLATED):
    """An archive with these bytes for `inputs`, and honest targets."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("inputs.npy", inputs)
        file.writestr("targets.npy", member(TARGETS))
    return path


def refusal(path):
    """What is said of a file that cannot be used."""
    with pytest.raises(InputError) as error:
        Arrays(str(path)).load("train")
    said = str(error.value)
    assert "\n" not in said
    assert str(path) in said
    return said


HEADER = "{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (member(INPUTS, HEADER.format(descr="'<f8'", shape=(10**9, 10))), r"80000000000 bytes, and the archive 1200"),
        (member(INPUTS, HEADER.format(descr="'<f8'", shape=(49, 3))), r"1176 bytes, and the archive 1200"),
        (member(INPUTS, HEADER.format(descr="'<f8'", shape=(-50, -3))), "cannot be read"),
        (member(INPUTS, HEADER.format(descr="'|O'", shape=(150,))), "Python objects, which are not unpickled"),
        (member(INPUTS, HEADER.format(descr="[" * 3000, shape=(50, 3))), "cannot be read"),
        (member(INPUTS, HEADER.format(descr="(" * 200 + ")" * 200, shape=(50, 3))), "cannot be read"),
        (member(INPUTS, "{" * 60_000), "cannot be read"),
        (member(INPUTS, "__import__('os')"), "cannot be read"),
        (member(INPUTS, "{}"), "cannot be read"),
        (member(INPUTS)[:20], "cannot be read"),
        (b"", "cannot be read"),
        (b"not an array", "cannot be read"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "cannot be read"),
        (member(np.empty((50, 0))), r"found inputs of shape \(50, 0\)"),
        (member(np.zeros((50, 3), "M8[s]")), "expected floats or uint8"),
        (member(np.zeros((50, 3), "V0")), "inputs"),
    ],
)
def test_an_array_that_cannot_be_used_is_one_line(tmp_path, inputs, message):
    import re

    assert re.search(message, refusal(archive(tmp_path / "mine.npz", inputs)))


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_garbage_in_a_compressed_array_is_one_line(tmp_path, compression):
    path = archive(tmp_path / "mine.npz", member(INPUTS), compression)
    assert len(Arrays(str(path)).load("train")) == 32
    content = bytearray(path.read_bytes())
    for start in (45, 60, 400):
        damaged = content.copy()
        damaged[start : start + 30] = b"\xa5" * 30
        path.write_bytes(damaged)
        refusal(path)


def test_an_unknown_compression_and_an_encrypted_archive_are_one_line(tmp_path):
    path = archive(tmp_path / "mine.npz", member(INPUTS))
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    for offset, value in ((10, 99), (8, 1)):
        path.write_bytes(content[: at + offset] + struct.pack("<H", value) + content[at + offset + 2 :])
        refusal(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = archive(tmp_path / "mine.npz", member(np.zeros((1 << 20, 3))))
    assert path.stat().st_size < 1 << 17
    monkeypatch.setattr(npz, "bytes_of_memory", lambda: 1 << 25)
    unpacked = []
    monkeypatch.setattr(npz.np, "empty", lambda *_: unpacked.append(1))
    assert "do not fit twice into this machine's" in refusal(path)
    assert not unpacked


def test_arrays_that_fit_one_by_one_and_not_together_are_refused(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", **{name: np.zeros(1 << 16) for name in ("one", "two", "three")})
    monkeypatch.setattr(npz, "bytes_of_memory", lambda: 5 << 19)  # two and a half arrays, twice
    file = npz.NpzFile(tmp_path / "a.npz")
    for _ in range(3):
        assert [len(file.array(name)) for name in ("one", "two")] == [1 << 16] * 2
    with pytest.raises(InputError, match=r"three cannot be read \(its 0\.0 GB with one, two do not fit twice into"):
        file.array("three")


@pytest.mark.parametrize("targets", [np.empty((50, 0)), np.full(50, 1e200), np.full(50, 1e-200)])
def test_targets_that_no_model_can_be_trained_on_are_refused(tmp_path, targets):
    np.savez(tmp_path / "mine.npz", inputs=INPUTS, targets=targets)
    assert "targets" in refusal(tmp_path / "mine.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "u1"])
def test_what_is_read_is_what_numpy_reads(tmp_path, order, dtype):
    array = np.asarray(np.arange(24).reshape(2, 3, 4) / 2, dtype=dtype, order=order)
    np.savez(tmp_path / "a.npz", array=array)
    found = npz.NpzFile(tmp_path / "a.npz").array("array")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)
