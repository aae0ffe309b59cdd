"""Text of one's own: any UTF-8 file or folder of them, as bytes or as the tokens of a tokenizer's file.

A text is cut into training, validation and test by position in bytes, not at random: windows overlap their neighbours,
and what is next to a training window is not held out. The cut is the same whatever the tokenizer, so that bits per byte
compare tokenizers on the same bytes.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt
from torch import Tensor

from playbook.data.files import DEFAULT_ROOT
from playbook.data.source import NumWorkers, Source
from playbook.data.split import SplitName
from playbook.data.text_files import TextBytes, mapped, shipped_text, text_of, written_once
from playbook.data.token_windows import StoredTokenWindows, TokenWindows
from playbook.errors import InputError, one_line

_NUM_BYTES = 256
_PIECE, _MOST_PIECES = 1 << 16, 1 << 8  # 16 million tokens are counted in 0.1 s


class _Share(NamedTuple):
    """Bytes of a split, from `start` up to `stop`."""

    start: int
    stop: int


class Text(Source):
    """Windows of `context` tokens of the UTF-8 file or folder at `path`, each with the tokens that come one later.

    Without a `path`: "Paradise Lost", which ships. Of a folder all files are read, one after the other by name, but
    hidden ones. A token is a byte; or, with `tokenizer`, what a JSON file of Hugging Face's library `tokenizers` makes
    of the text. Each split is then encoded once, into a file in `cache` whose name holds the fingerprint of text and
    tokenizer, and mapped into memory. Bits per byte say something of tokenizers that lose nothing of a text.

    Validation and test are the last shares of the bytes. Windows of training begin anywhere in its share; those of the
    other two follow one another, so that every token is judged once.

    Raises:
        InputError: from `load` and what it supplies: files that are missing, empty or not UTF-8, a tokenizer that
            cannot be read, or a split that is shorter than a window.
    """

    supplies = ("vocab_size", "bytes_per_token", "token_counts")

    def __init__(
        self,
        path: str | None = None,
        root: str | None = None,
        download: bool = False,
        in_memory: bool = True,
        num_workers: NumWorkers = "auto",
        context: PositiveInt = 128,
        tokenizer: str | None = None,
        cache: str = DEFAULT_ROOT,
        val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1,
        test_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__(num_workers=num_workers)
        if val_fraction + test_fraction >= 1:
            raise ValueError(
                f"data.val_fraction={val_fraction} and data.test_fraction={test_fraction} leave nothing to train on"
            )
        self.path = None if path is None else Path(root or "") / path
        self.in_memory = in_memory
        self.context = context
        self.tokenizer = None if tokenizer is None else Path(tokenizer)
        self.cache = Path(cache) / "text"
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; 256 of bytes."""
        return _NUM_BYTES if self.tokenizer is None else int(self._encoder.get_vocab_size())

    @property
    def bytes_per_token(self) -> float:
        """The mean of the validation split."""
        start, stop = self._share("val")
        return (stop - start) / max(1, len(self._tokens("val")))

    @property
    def token_counts(self) -> Tensor:
        """How often each token occurs in training, int64 (vocab_size,): of a long text, in pieces evenly spaced."""
        tokens = self._tokens("train")
        num_pieces = -(-len(tokens) // _PIECE)
        chosen = np.unique(np.linspace(0, num_pieces - 1, min(num_pieces, _MOST_PIECES)).astype(int))
        counts = torch.zeros(self.vocab_size, dtype=torch.int64)
        for piece in chosen:
            some = tokens[piece * _PIECE : (piece + 1) * _PIECE]
            counts += torch.from_numpy(np.bincount(some, minlength=self.vocab_size))
        return counts

    def load(self, split: SplitName) -> TokenWindows:
        return self._windows(split, self._tokens(split))

    def load_folded(self) -> TokenWindows:
        """Windows that begin anywhere in training and validation, which follow each other."""
        return self._windows("train", np.concatenate([self._tokens("train"), self._tokens("val")]))

    def _windows(self, split: SplitName, tokens: NDArray[Any]) -> TokenWindows:
        needed = self.context + 1 if split == "train" else 2
        if len(tokens) < needed:
            raise InputError(
                f"{self._place}: its {split} split has {len(tokens)} tokens, and data.context={self.context} needs"
                f" {needed}; give a longer text, a smaller data.context or another data.val_fraction,"
                f" data.test_fraction ({self.val_fraction}, {self.test_fraction})"
            )
        windows = TokenWindows if self.in_memory else StoredTokenWindows
        return windows(torch.from_numpy(tokens), self.context, every_offset=split == "train")

    def fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        digest.update(f"{self._text.fingerprint} {self.val_fraction} {self.test_fraction};".encode())
        if self.tokenizer is not None:
            digest.update(self._encoder.to_str().encode())
        return digest.hexdigest()

    @property
    def _place(self) -> str:
        return "the text that ships" if self.path is None else f"data.path={self.path}"

    @cached_property
    def _text(self) -> TextBytes:
        return shipped_text() if self.path is None else text_of(self.path, self.cache)

    def _share(self, split: SplitName) -> _Share:
        """The bytes of a split; no character is cut in two."""
        size = len(self._text.content)
        trained_on = self._text.start_of_character(round(size * (1 - self.val_fraction - self.test_fraction)))
        judged_on = self._text.start_of_character(round(size * (1 - self.test_fraction)))
        shares: dict[SplitName, _Share] = {
            "train": _Share(0, trained_on),
            "val": _Share(trained_on, judged_on),
            "test": _Share(judged_on, size),
        }
        return shares[split]

    def _tokens(self, split: SplitName) -> NDArray[Any]:
        """The tokens of a split (number of tokens,), of a small integer type that torch can index."""
        start, stop = self._share(split)
        if self.tokenizer is None:
            return self._text.content[start:stop]
        kind = np.dtype(np.uint8 if self.vocab_size <= 1 << 8 else np.int16 if self.vocab_size <= 1 << 15 else np.int32)
        encoded = (
            np.asarray(self._encoder.encode(piece, add_special_tokens=False).ids, kind).tobytes()
            for piece in self._text.paragraphs(start, stop)
        )
        name = f"{self.fingerprint()}-{self._text.version}-{split}.{kind}"
        return mapped(written_once(self.cache / name, encoded), kind)

    @cached_property
    def _encoder(self) -> Any:
        """The `tokenizers.Tokenizer` of the file, which neither cuts a text nor pads it."""
        given = f"data.tokenizer={self.tokenizer}"
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise InputError(
                f"{given}: the library tokenizers is needed, which is the extra `text`: pip install -e '.[text]'"
            ) from None
        try:
            encoder = Tokenizer.from_file(str(self.tokenizer))
        except Exception as error:  # of no type of its own, for a file that is missing too
            raise InputError(f"{given}: not a tokenizer.json of the library tokenizers ({one_line(error)})") from error
        encoder.no_truncation()
        encoder.no_padding()
        return encoder
