"""What a fork says of itself, in `conf/project.yaml`: upstream never ships that file, so that no merge touches it.

    packages: [mine]   # beside `playbook`; a `_target_` may name their classes

`make project NAME=mine` writes it. It is read as a file and not composed: nothing on a command line extends trust.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from playbook.errors import InputError, one_line

PROJECT_FILE = Path(__file__).parents[2] / "conf" / "project.yaml"


@cache
def own_packages() -> tuple[str, ...]:
    """The names of the fork's own packages; none in the template itself.

    Raises:
        InputError: the file is no mapping with a list of package names under `packages`.
    """
    if not PROJECT_FILE.exists():
        return ()
    try:
        given = yaml.safe_load(PROJECT_FILE.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{PROJECT_FILE} cannot be read ({one_line(error)})") from None
    names = given.get("packages") if isinstance(given, dict) and set(given) == {"packages"} else None
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isidentifier() for name in names):
        raise InputError(f"{PROJECT_FILE}: allowed is one line such as packages: [mine], the names of packages in src/")
    return tuple(names)
