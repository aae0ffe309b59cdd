"""Signals that ask a trial to stop: it does, at the end of the step, with everything saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Interrupts:
    """Within it, the first of `SIGNALS` is noted in `signum`; a second Ctrl-C ends the process at once.

    A handler that is there already stays: under submitit, which requeues the job itself and starts it again, and the
    run then goes on from its last commit. Outside the main thread Python allows no handlers, and nothing is noted.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            before = {signum: signal.getsignal(signum) for signum in SIGNALS}  # None: a handler that C installed
            self._before = {signum: handler for signum, handler in before.items() if handler in _DEFAULTS}
            for signum in self._before:
                signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for signum, before in self._before.items():
            signal.signal(signum, before)

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, else 143: what a shell reports of a program that the signal ended."""
        return 130 if self.signum == signal.SIGINT else 143

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is None:
            self.signum = signum
            # Not by print: where the signal came in the middle of another one, Python refuses to print within it.
            os.write(2, f"{signal.Signals(signum).name}: stopping at the end of this step\n".encode())
        elif signum == signal.SIGINT:
            sys.exit(130)  # a KeyboardInterrupt would have Lightning end the process with 1
