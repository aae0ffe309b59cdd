"""Running out of memory: a fact of the trial's hyperparameters, and so a result, not a crash."""

from __future__ import annotations

from types import TracebackType

import torch

_WORDS = ("can't allocate memory", "bad_alloc", "out of memory", "STATUS_ALLOC_FAILED")
"""How torch, CUDA, cuBLAS, cuDNN, NCCL and Metal say it, in a RuntimeError."""


class MemoryLimit:
    """Within it, running out of memory ends the block and is noted in `exceeded`; any other exception passes.

    What is done about it is decided in one place, `playbook.training.trial`.
    """

    exceeded: str | None = None
    """The first line of what was said, without the advice that follows."""

    def __enter__(self) -> MemoryLimit:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None or not is_out_of_memory(error):
            return False
        self.exceeded = (str(error).splitlines() or [type(error).__name__])[0]
        return True


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory has run out, of a device or of the machine."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
