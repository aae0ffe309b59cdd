"""`trainer.compile=true`: the model's training pass is compiled by torch.compile; evaluation runs it as it is.

What is compiled must not depend on what came before it in this process, or a resumed run would have other last bits: so
shapes are never generalised (`dynamic=False`), what another trial compiled is forgotten, and evaluations, whose shapes
come in another order after a resume, are not compiled. The state dict is that of the model itself.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from playbook.errors import CrashError, InputError, one_line


def refuse_without_compiler(device: torch.device) -> None:
    """On a CPU torch.compile writes C++.

    Raises:
        InputError: there is no compiler for it.
    """
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if device.type == "cpu" and shutil.which(compiler) is None:
        raise InputError(
            f"trainer.compile=true: on the CPU it needs a C++ compiler, and there is no {compiler} here; install it,"
            " name another in the environment variable CXX, or use trainer.compile=false"
        )


def compile_training(model: nn.Module) -> None:
    """From now on a call of `model` is compiled, each shape of its inputs by itself."""
    torch.compiler.reset()
    model.compile(dynamic=False)


def uncompiled(compiles: bool) -> AbstractContextManager[object]:
    """Within it a model that was compiled runs as it is."""
    return torch.compiler.set_stance("force_eager") if compiles else nullcontext()


@contextmanager
def compiler_failure_is_a_crash(compiles: bool) -> Iterator[None]:
    """What torch.compile cannot compile, or its compiler does not take, is one line that says how to do without.

    It shows at the first step, for the shapes of a batch, when the run has begun: so it is a crash, not bad input.
    """
    try:
        yield
    except Exception as error:
        if not compiles or not _of_the_compiler(error):
            raise
        said = one_line(str(error).strip().partition("\n\n")[0])
        if len(said) > _MOST_CHARACTERS:
            said = f"{said[:_MOST_CHARACTERS]}…"
        raise CrashError(
            f"trainer.compile=true: torch.compile failed ({type(error).__name__}: {said}); trainer.compile=false trains"
            " without it"
        ) from error


_MOST_CHARACTERS = 300


def _of_the_compiler(error: BaseException) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # 2 s, but not where something was compiled
    from torch._inductor.exc import CppCompileError

    return isinstance(error, TorchDynamoException | CppCompileError)
