"""The commands of a trial on several nodes: none starts its ranks before all of them are going to.

What a command refuses (a folder that is in use, data that its machine does not have) it finds out by itself, and the
ranks of the others would wait for those that never come. So the first command holds a store, as torchrun's agent does,
in which each says that it is ready, or what it refused. The ranks meet in that store too: a port that is found free, to
be bound later by a rank, may have been taken by then, and its ranks waited at whoever had it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from torch.distributed import DistError, PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from playbook.errors import CrashError, InputError, one_line
from playbook.training.distributed import MEETING_TIME
from playbook.training.nodes import Launch
from playbook.training.signals import Interrupts

FIRST_COMES_SECONDS = 300.0
"""How long the others wait for the first command: one launcher starts all of them within seconds."""
HOLD_SECONDS = 30.0
"""How long the first command, at its end, stays with the store for the others; that the last is gone ends it."""
AGAIN_SECONDS = 10.0
"""How long a store that was lost is looked for again: it may have been that of the trial before."""
_REFUSED, _FAILED = "refused", "failed"


class Commands:
    """The commands that `launch` is one of, for a trial into `folder`.

    Within it the first holds their store. One that ends before all are `ready` says so to the others, and they end too;
    so do those whose ranks wait for the ranks of one that fails later.
    """

    def __init__(self, launch: Launch, folder: str) -> None:
        self._launch = launch
        self._held: TCPStore | None = None
        self._store: Store | None = None
        self._are_ready = launch.count == 1
        # Those of torchrun's agent outlive a trial.
        self._prefix = f"{folder}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"

    def __enter__(self) -> Commands:
        launch = self._launch
        if launch.is_first and not launch.of_torchrun:
            try:
                self._held = TCPStore(launch.address, launch.port, is_master=True, wait_for_workers=False)
            except DistError as error:
                raise InputError(
                    f"MASTER_ADDR={launch.address} MASTER_PORT={launch.port}: the nodes cannot meet there"
                    f" ({one_line(str(error).splitlines()[0])}); set both to a free port of the first node"
                ) from error
            self._store = PrefixStore(self._prefix, self._held)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._launch.count > 1:
            with suppress(DistError, CrashError):
                store = self._store or self._connect(AGAIN_SECONDS, None)
                if not self._are_ready:
                    self._refuse(store, error)
                elif error is not None:
                    store.set(_FAILED, "")
                store.set(self._key("gone"), "")
                if self._held is not None:
                    self._stay(store)
        self._store = self._held = None

    def environment(self) -> dict[str, str]:
        """What the ranks find each other by: they are guests of the store, as with torchrun."""
        port = self._launch.port if self._held is None else self._held.port
        return {
            "MASTER_ADDR": self._launch.address,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": str(True),
        }

    def ready(self, interrupts: Interrupts) -> None:
        """Returns when all of them are.

        Raises:
            InputError, CrashError: another one has ended before, with the line that it said; or the first did not come.
        """
        if self._are_ready:
            return
        deadline, within = time.monotonic() + MEETING_TIME.total_seconds(), FIRST_COMES_SECONDS
        while not self._are_ready:
            try:
                store = self._store = self._store or self._connect(within, interrupts)
                store.set(self._key("ready"), "")
                self._are_ready = self._wait(store, deadline, interrupts)
            except DistError:
                self._store, within = None, AGAIN_SECONDS

    def one_has_failed(self) -> bool:
        """Whether it was one of the others, since all were ready."""
        try:
            return self._store is not None and self._store.check([_FAILED])
        except DistError:  # the first was killed: the ranks have lost its ranks too
            return False

    def _wait(self, store: Store, deadline: float, interrupts: Interrupts) -> bool:
        """True when all commands are ready."""
        while not store.check([self._key("ready", index) for index in range(self._launch.count)]):
            if store.check([_REFUSED]):
                code, _, line = store.get(_REFUSED).decode().partition(" ")
                raise (InputError if int(code) == InputError.exit_code else CrashError)(line)
            if interrupts.signum is not None:
                sys.exit(interrupts.exit_code)
            if time.monotonic() > deadline:
                raise CrashError(f"not all {self._launch.count} commands of this trial came in {MEETING_TIME}")
            time.sleep(0.1)
        return True

    def _refuse(self, store: Store, error: BaseException | None) -> None:
        """Say to the others why this command ends, unless one of them said so first."""
        code = error.exit_code if isinstance(error, InputError) else CrashError.exit_code
        said = one_line(error) if isinstance(error, InputError | CrashError) else "it ended before its ranks began"
        store.compare_set(_REFUSED, "", f"{code} command {self._launch.index} of {self._launch.count}: {said}")

    def _stay(self, store: Store) -> None:
        """The store is there until the last has looked into it: torch warns at length of one that is gone."""
        deadline = time.monotonic() + HOLD_SECONDS
        gone = [self._key("gone", index) for index in range(self._launch.count)]
        while time.monotonic() < deadline and not store.check(gone):
            time.sleep(0.1)

    def _connect(self, seconds: float, interrupts: Interrupts | None) -> Store:
        """A guest of the store. torch's own waiting hears no signal, and warns at each attempt."""
        address, port = self._launch.address, self._launch.port
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(OSError, DistError):
                socket.create_connection((address, port), timeout=2).close()
                timeout = timedelta(seconds=AGAIN_SECONDS)
                guest = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=timeout)
                return PrefixStore(self._prefix, guest)
            if interrupts is not None and interrupts.signum is not None:
                sys.exit(interrupts.exit_code)
            time.sleep(0.1)
        raise CrashError(
            f"nobody answers at {address}:{port}, where the first node's command would be: it was not started within"
            f" {seconds:.0f} s, or it has ended and says why"
        )

    def _key(self, what: str, index: int | None = None) -> str:
        return f"{what}/{self._launch.index if index is None else index}"
