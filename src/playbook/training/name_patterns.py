"""Names of parameters and buffers by patterns, for `freeze` and `init_skip`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from playbook.errors import InputError
from playbook.optim.groups import matches

_SHOWN = 12


def matching(names: Collection[str], patterns: Sequence[str], key: str) -> set[str]:
    """Those of `names` that match a pattern (see `playbook.optim.groups.matches`).

    Raises:
        InputError: a pattern, of the config key `key`, matches none.
    """
    found: set[str] = set()
    for pattern in patterns:
        own = {name for name in names if matches(name, pattern)}
        if not own:
            raise InputError(f"{key}=[{pattern}]: no name matches; there are {shown(names)}")
        found |= own
    return found


def shown(names: Collection[str]) -> str:
    """The names in a line, the first of them where there are many."""
    some = list(names)[:_SHOWN]
    return ", ".join(some) + (f" and {len(names) - len(some)} more" if len(names) > len(some) else "")
