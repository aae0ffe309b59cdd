"""Commands in forks of a process that has imported everything: a tenth of a second each instead of four.

    python -m warm SOCKET     takes a request a connection, and answers with the process id, then with the exit code

A command is a process of its own all the same, in a session of its own: it runs the script as `__main__`, can be sent
signals, and ends as an interpreter does. What it imports, and a signal while it does so, only `command.python` shows.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NoReturn


@dataclass
class Command:
    """A command that runs, or has ended; as far as tests need it, what `subprocess.Popen` is."""

    pid: int
    _connection: socket.socket
    _output: tuple[Path, Path]
    returncode: int | None = None
    _received: bytes = field(default=b"", repr=False)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        return self._end(0.0)

    def wait(self, timeout: float = 120.0) -> int:
        """The exit code. It is not there in time: `subprocess.TimeoutExpired`."""
        if self._end(timeout) is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float = 120.0) -> tuple[str, str]:
        """What it printed, and what it said on stderr, when it has ended."""
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in self._output)
        return out, err

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()

    def _end(self, seconds: float) -> int | None:
        if self.returncode is None:
            self._connection.settimeout(seconds)
            try:
                while not self._received.endswith(b"\n"):
                    part = self._connection.recv(64)
                    assert part, "the warm process is gone"
                    self._received += part
                self.returncode = int(self._received)
                self._connection.close()
            except (BlockingIOError, TimeoutError):
                return None
        return self.returncode


def start(script: Path | str, *words: str, folder: Path, **environment: str) -> Command:
    """`python SCRIPT WORDS…` in `folder`."""
    kept = Path(tempfile.mkdtemp(dir=_place()))
    output = kept / "stdout", kept / "stderr"
    request = {
        "words": [str(script), *words],
        "folder": str(folder),
        "environment": os.environ | {"OMP_NUM_THREADS": "1", "HYDRA_FULL_ERROR": "0"} | environment,
        "output": [str(path) for path in output],
    }
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(_place() / "socket"))
    connection.sendall(json.dumps(request).encode() + b"\n")
    pid = b""
    while not pid.endswith(b"\n"):
        part = connection.recv(1)  # not a byte of the exit code
        assert part, "the warm process could not start a command"
        pid += part
    return Command(int(pid), connection, output)


def run(script: Path | str, *words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As `command.python`, which is a new interpreter."""
    command = start(script, *words, folder=folder, **environment)
    try:
        out, err = command.communicate()
    finally:
        command.kill()
    assert command.returncode is not None
    return subprocess.CompletedProcess([str(script), *words], command.returncode, out, err)


@cache
def _place() -> Path:
    """The folder of the warm process of this one, which is started where it is first asked for."""
    folder = tempfile.TemporaryDirectory(prefix="warm")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__)), f"{folder.name}/socket"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )

    def end() -> None:
        process.kill()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return Path(folder.name)


def _serve(address: str) -> dict[str, Any]:
    """Returns in a child alone: the request that it is to fulfil."""
    import optuna

    import hydra_plugins.quasi_random_sweeper._core  # noqa: F401
    import playbook.models
    import playbook.report.study_report
    import playbook.study.optuna_mirror
    import playbook.training
    import playbook.training_app  # noqa: F401
    from playbook.composition import compose_config

    compose_config("train", [])  # whose first time takes Hydra longest
    optuna.storages.RDBStorage("sqlite://")  # optuna imports what it needs when that is asked for
    gc.freeze()
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        listening.settimeout(1.0)
        print("ready", flush=True)
        while os.getppid() == parent:
            _reap()
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                break
            connection.close()
        else:  # it died, and cannot remove its folder
            shutil.rmtree(Path(address).parent, ignore_errors=True)
            os._exit(0)
    with connection.makefile("rb") as lines:
        request = json.loads(lines.readline())
    if pid := os.fork():
        _report(connection, pid)
    connection.close()
    return request


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _report(connection: socket.socket, pid: int) -> NoReturn:
    connection.sendall(f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(f"{code}\n".encode())
    os._exit(0)


def _become(request: dict[str, Any]) -> None:
    """Be the command."""
    os.setsid()
    for descriptor, path in enumerate(("/dev/null", *request["output"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["words"]
    script = Path(sys.argv[0]).absolute()
    sys.path[0] = str(script.parent)
    code: Any = 0
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:
        code = end.code
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    _become(_serve(sys.argv[1]))
