"""Text as tokens: which bytes a split holds, which windows, and the file that a tokenizer's tokens are kept in."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from playbook.data import StepLoader, Text
from playbook.data.text_files import shipped_text
from playbook.data.token_windows import TokenWindows
from playbook.errors import InputError

SENTENCES = "".join(f"{number} grüne Flaschen – hängen an der Wand. \n" for number in range(400))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_bytes(SENTENCES.encode())
    return path


def source(path: Path | None, tmp_path: Path, **keys) -> Text:
    keys = {"context": 16, "cache": str(tmp_path / "cache"), **keys}
    return Text(path=None if path is None else str(path), **keys)


def words_tokenizer(path: Path, size: int = 300) -> Path:
    """A byte-level BPE of `size` tokens, which gives back any text as it was."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SENTENCES], trainer)
    tokenizer.save(str(path))
    return path


def judged(split: TokenWindows) -> torch.Tensor:
    """All targets of a split that is passed over once, without the padding."""
    targets = split.batch(torch.arange(len(split))).targets
    return targets[targets != -100]


def test_the_splits_are_the_text_in_order(written, tmp_path):
    text = SENTENCES.encode()
    mine = source(written, tmp_path, val_fraction=0.2, test_fraction=0.1)
    held_out = b"".join(bytes(mine.load(name).tokens.tolist()) for name in ("train", "val", "test"))
    assert held_out == text
    sizes = [len(mine.load(name).tokens) / len(text) for name in ("train", "val", "test")]
    assert sizes == pytest.approx([0.7, 0.2, 0.1], abs=4 / len(text))
    for name in ("train", "val", "test"):
        bytes(mine.load(name).tokens.tolist()).decode()  # no character is cut in two
    assert (mine.vocab_size, mine.bytes_per_token) == (256, 1.0)


@pytest.mark.parametrize("length", [33, 40, 48, 49])
def test_windows_for_judging_hold_each_token_once(length):
    tokens = torch.arange(length, dtype=torch.uint8)
    split = TokenWindows(tokens, 16, every_offset=False)
    inputs, targets = split.batch(torch.arange(len(split)))
    assert judged(split).tolist() == list(range(1, length))
    assert inputs.shape == targets.shape == (len(split), 16)
    assert inputs.dtype == targets.dtype == torch.int64
    assert (inputs[targets != -100] + 1 == targets[targets != -100]).all()
    assert torch.equal(split.targets.long(), targets)


def test_windows_for_training_begin_everywhere():
    tokens = torch.arange(50, dtype=torch.uint8)
    split = TokenWindows(tokens, 16, every_offset=True)
    inputs, targets = split.batch(torch.arange(len(split)))
    assert inputs[:, 0].tolist() == list(range(50 - 16))
    assert (targets == inputs + 1).all()
    assert targets.max() == 49


def test_a_long_text_has_windows_at_every_few_tokens(monkeypatch):
    monkeypatch.setattr("playbook.data.token_windows._MOST_OFFSETS", 100)
    tokens = torch.arange(1000, dtype=torch.int16)
    split = TokenWindows(tokens, 16, every_offset=True)
    _, targets = split.batch(torch.arange(len(split)))
    assert len(split) <= 100
    assert targets[:, 0].diff().unique().tolist() == [10]
    assert 999 - 10 < targets.max() <= 999
    assert TokenWindows(tokens[:200], 16, every_offset=True).stride == 2
    assert TokenWindows(tokens, 4, every_offset=True).stride == 4  # never more than a window apart


def test_a_batch_is_a_function_of_the_step(written, tmp_path):
    text = SENTENCES.encode()
    keys = {"batch_size": 4, "seed": 3, "num_steps": 6}
    for in_memory in (True, False):
        split = source(written, tmp_path, in_memory=in_memory).load("train")
        whole = list(StepLoader(split, **keys))
        resumed = list(StepLoader(split, **keys, start_step=4))
        for there, here in zip(whole[4:], resumed, strict=True):
            assert torch.equal(there[0], here[0])
        shares = [list(StepLoader(split, **keys, rank=rank, world_size=2)) for rank in (0, 1)]
        for there, *here in zip(whole, *shares, strict=True):
            assert torch.equal(there[0], torch.cat([batch[0] for batch in here]))
        for inputs, targets in whole:
            for window, later in zip(inputs.tolist(), targets.tolist(), strict=True):
                assert bytes(window) in text
                assert window[1:] == later[:-1]


def test_the_tokens_of_training_are_counted(written, tmp_path, monkeypatch):
    mine = source(written, tmp_path)
    tokens = mine.load("train").tokens
    assert torch.equal(mine.token_counts, torch.bincount(tokens, minlength=256))
    monkeypatch.setattr("playbook.data.text._PIECE", 10)
    monkeypatch.setattr("playbook.data.text._MOST_PIECES", 3)
    assert mine.token_counts.sum() in range(21, 31)  # the first, the last, and one in the middle


def test_a_folder_is_its_files_by_name(tmp_path):
    folder = tmp_path / "books"
    (folder / "part").mkdir(parents=True)
    contents = {"part/c.txt": "gamma " * 50, "a.txt": "alpha " * 50, "b.md": "beta " * 50, ".hidden": "no"}
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    mine = source(folder, tmp_path)
    text = b"".join(bytes(mine.load(name).tokens.tolist()) for name in ("train", "val", "test")).decode()
    assert text == contents["a.txt"] + contents["b.md"] + contents["part/c.txt"]


def test_the_same_bytes_are_held_out_whatever_the_tokenizer(written, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    path = words_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    mine, plain = source(written, tmp_path, tokenizer=str(path)), source(written, tmp_path)
    for name in ("train", "val", "test"):
        tokens = mine.load(name).tokens
        assert tokens.dtype == torch.int16
        assert tokenizer.decode(tokens.tolist()).encode() == bytes(plain.load(name).tokens.tolist())
    assert mine.vocab_size == tokenizer.get_vocab_size() == 300
    assert mine.bytes_per_token == len(plain.load("val").tokens) / len(mine.load("val").tokens) > 1.5


@pytest.mark.parametrize("block", [1 << 20, 64, 5])
def test_pieces_of_a_text_are_the_text(written, tmp_path, monkeypatch, block):
    monkeypatch.setattr("playbook.data.text_files._BLOCK", block)
    text = source(written, tmp_path)._text
    assert "".join(text.paragraphs(0, len(text.content))) == SENTENCES


def test_tokens_are_encoded_once_for_a_text_and_a_tokenizer(written, tmp_path, monkeypatch):
    path = words_tokenizer(tmp_path / "tokenizer.json")
    mine = source(written, tmp_path, tokenizer=str(path))
    first = mine.load("train").tokens.clone()
    files = set((tmp_path / "cache").rglob("*.*"))
    assert all(mine.fingerprint() in file.name for file in files)

    # what would be encoded again were nothing
    monkeypatch.setattr("playbook.data.text_files.TextBytes.paragraphs", lambda *_: iter(()))
    assert torch.equal(source(written, tmp_path, tokenizer=str(path)).load("train").tokens, first)
    monkeypatch.undo()

    larger = words_tokenizer(tmp_path / "larger.json", size=320)
    written.write_bytes(SENTENCES.encode().replace(b"an der Wand", b"in der Hand"))  # of the same length
    for changed in (source(written, tmp_path, tokenizer=str(path)), source(written, tmp_path, tokenizer=str(larger))):
        changed.load("train")
        now = set((tmp_path / "cache").rglob("*.*"))
        assert len(now) > len(files)
        assert changed.fingerprint() != mine.fingerprint()
        files = now
    assert not [file for file in files if file.name.endswith(str(os.getpid()))]


def test_the_fingerprint_is_of_what_the_text_says(written, tmp_path):
    again = tmp_path / "again.txt"
    again.write_bytes(written.read_bytes())
    mine = source(written, tmp_path)
    assert source(again, tmp_path).fingerprint() == mine.fingerprint()
    assert source(written, tmp_path, val_fraction=0.2).fingerprint() != mine.fingerprint()
    again.write_bytes(written.read_bytes().replace(b"7", b"8", 1))
    assert source(again, tmp_path).fingerprint() != mine.fingerprint()


def test_tokens_are_mapped_and_the_file_is_never_written(written, tmp_path):
    before = written.read_bytes()
    split = source(written, tmp_path).load("train")
    assert isinstance(source(written, tmp_path)._text.content, np.memmap)
    split.tokens.fill_(0)
    assert written.read_bytes() == before


def test_without_the_library_the_extra_is_named(written, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match=r"data\.tokenizer=.*pip install -e '\.\[text\]'"):
        source(written, tmp_path, tokenizer="tokenizer.json").load("train")
    assert len(source(written, tmp_path).load("train"))  # bytes need none


@pytest.mark.parametrize(
    ("content", "keys", "message"),
    [
        (None, {}, "there is no such file"),
        (b"", {}, "found no text"),
        (b"\x89PNG\r\n\x1a\n" * 100, {}, "0x89 at 0, expected UTF-8"),
        (b"short", {}, "its train split has"),
        (b"just long enough for one" * 10, {"test_fraction": 0.0}, None),
        (b"a" * 400, {"tokenizer": "missing.json"}, "data.tokenizer=missing.json"),
    ],
)
def test_what_is_no_text_is_refused_in_a_line(content, keys, message, tmp_path):
    path = tmp_path / "given"
    if content is not None:
        path.write_bytes(content)
    if "tokenizer" in keys:
        pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
    mine = source(path, tmp_path, **keys)
    if message is None:
        mine.load("train")
        with pytest.raises(InputError, match=r"its test split has 0 tokens"):
            mine.load("test")
        return
    with pytest.raises(InputError) as error:
        mine.load("train")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_fractions_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.val_fraction=0\.5 and data\.test_fraction=0\.5"):
        source(None, tmp_path, val_fraction=0.5, test_fraction=0.5)


def test_the_text_that_ships_is_the_one_that_results_are_quoted_for(tmp_path):
    content = shipped_text().content.tobytes()
    assert hashlib.sha256(content).hexdigest() == "ab4f1b1b21dd76977c478a7cc24ed156dfb5cfe116f272099376ee0967e2c449"
    assert content.startswith(b"PARADISE LOST\nBOOK I.\n")
    split = source(None, tmp_path, context=128).load("val")
    assert len(split.tokens) == 45_448
    assert not (tmp_path / "cache").exists()
