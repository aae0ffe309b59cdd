"""How much memory there is for data, known before any of it is unpacked."""

from __future__ import annotations

import os
from pathlib import Path


def bytes_of_memory() -> int:
    """Bytes of memory that this process can hope for: the machine's, or those of its container."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # there is no container, or it has no limit
            continue
    return min(limits)
