"""A run on a file system that fills up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.chains import Outcome, Trials

MEBIBYTE = 1 << 20


@contextmanager
def small_file_system(place: Path, size: int) -> Iterator[Path | str]:
    """A file system in memory of `size` bytes; where this machine does not let us mount one, the reason."""
    if os.geteuid() != 0:
        yield "mounting a file system takes root"
        return
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        yield f"mount: {mounted.stderr.strip()}"
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def full_disk(trials: Trials, disk: Path, share: float) -> Outcome:
    """A run that finds `share` of the space that it needs; the space is then freed, and the same command ends it."""
    folder = disk / "run"
    ballast = disk / "ballast"
    needed = sum(path.stat().st_size for path in trials.twin.rglob("*") if path.is_file())
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - int(needed * share)))
    ended = trials.driver.run(trials.words, folder)
    lines = ended.output.strip().splitlines()
    faults = []
    if ended.code != 1 or len(lines) != 1 or "No space left on device" not in lines[0]:
        faults.append(f"exit code {ended.code} with {len(lines)} lines: {ended.output.strip()[-300:]}")
    ballast.unlink()
    ended = trials.driver.run(trials.words, folder)
    if ended.code != 0:
        faults.append(f"with space again, exit code {ended.code}: {ended.output.strip()[-300:]}")
    outcome = trials.compare(folder, f"disk at {share:.0%}", Counter(["a full disk"]), said=faults)
    shutil.rmtree(folder)
    return outcome
