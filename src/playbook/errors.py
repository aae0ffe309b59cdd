"""The one exception for bad input: its message is the line that the user reads."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line that names what was given, what is allowed and what to type instead. The command line
    prints it and ends with exit code 2, having written nothing.
    """
