"""What a user reads when something is wrong: each of these carries the line to print."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from pathlib import Path
from typing import ClassVar, NoReturn


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line that names what was given, what is allowed and what to type instead. The command line
    prints it and ends with `exit_code`, having written nothing.
    """

    exit_code: ClassVar[int] = 2


class CrashError(RuntimeError):
    """The world ended a trial: the disk is full, its folder is gone, one of its processes was killed.

    The message is one line that says so, and how to go on from the last commit. The command line prints it and ends
    with `exit_code`.
    """

    exit_code: ClassVar[int] = 1


def exit_with(error: InputError | CrashError) -> NoReturn:
    """Print what went wrong and end this process (a command line, or a rank) with the exit code of its kind."""
    print("".join(f"error: {line}\n" for line in str(error).splitlines()), end="", file=sys.stderr)
    sys.exit(error.exit_code)


def one_line(error: object) -> str:
    """The text of an error, or any other, in one line."""
    return " ".join(str(error).split())


def short_traceback(error: BaseException) -> str:
    """The traceback of an error in a fork's own code, without the frames of libraries and of the engine around it.

    The innermost of our frames is always there, so that something is.
    """
    package = Path(__file__).parent
    engine = [str(package / name) for name in ("training", "study", "tasks/base.py", "cli.py", "compose.py")]
    engine.append(str(package.parent / "hydra_plugins"))
    libraries = [sysconfig.get_path(name) for name in ("stdlib", "platlib", "purelib")]
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if not frame.filename.startswith((*libraries, "<"))]
    shown = [
        frame
        for frame in ours[:-1]
        if not frame.filename.startswith(tuple(engine)) and frame.name not in ("<module>", "main")
    ]
    lines = ["Traceback (HYDRA_FULL_ERROR=1 shows all of it):\n", *traceback.format_list([*shown, *ours[-1:]])]
    return "".join([*lines, *traceback.format_exception_only(error)]).rstrip()
