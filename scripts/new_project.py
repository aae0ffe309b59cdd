"""Makes a package of a fork's own beside `playbook`, with an example of everything: `make project NAME=mine`.

Writes `src/<name>/` (a model, a data set, a task), their options and an experiment in `conf/`, a test, and
`conf/project.yaml`, by which the package is trusted. Nothing that upstream ships is edited, so that its later versions
merge without a conflict.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = Path(__file__).parent / "new_project"
PROJECT_FILE = Path("conf/project.yaml")
USAGE = "type make project NAME=<name of your package>, or python scripts/new_project.py <name>"


def main(arguments: list[str]) -> int:
    """The exit code: 2 where the name cannot be a package's, or something has it already; nothing is written then."""
    if arguments in (["-h"], ["--help"]):
        print(f"{USAGE}\n\n{__doc__}")
        return 0
    if len(arguments) != 1 or (refused := _refused(arguments[0])):
        print(f"error: {refused if len(arguments) == 1 else USAGE}")
        return 2
    name = arguments[0]
    files = {_place(path, name): path.read_text(encoding="utf-8") for path in sorted(EXAMPLE.rglob("*.*"))}
    files[PROJECT_FILE] = (
        f"# Read by src/playbook/project.py: a _target_ may name classes of these.\npackages: [{name}]\n"
    )
    for path in files:
        if (ROOT / path).exists():
            print(f"error: {path} is there already; nothing was written")
            return 2
    for path, text in files.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(text.replace("NAME", name), encoding="utf-8")
        print(path)
    print(f"\nnext: python train.py experiment={name}")
    return 0


def _refused(name: str) -> str | None:
    """Why this cannot be the name; None where it can."""
    if not name.isidentifier() or iskeyword(name) or name != name.lower() or name.startswith("_"):
        return f"NAME={name}: allowed are small letters, digits and _, as for a Python package: NAME=mine"
    if (ROOT / "src" / name).exists():
        return f"NAME={name}: src/{name} is there already"
    if find_spec(name) is not None:
        return f"NAME={name}: there is a package of that name, {name}, which yours would hide; take another"
    if (ROOT / PROJECT_FILE).exists():
        return f"{PROJECT_FILE} is there already: add {name} to its packages, and write src/{name} yourself"
    return None


def _place(path: Path, name: str) -> Path:
    """Where a file of the example goes, from the root of the checkout."""
    first, *rest = path.relative_to(EXAMPLE).parts
    folders = {"package": ("src", name), "conf": ("conf",), "tests": ("tests", name)}
    return Path(*folders[first], *(part.replace("NAME", name) for part in rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
