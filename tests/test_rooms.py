"""A room imports only rooms below it, so that a fork can replace `data/` and `models/` and touch nothing above them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "playbook"

MAY_IMPORT = {
    "errors": set(),
    "renamed": set(),
    "randomness": set(),
    "lean_torchmetrics": set(),
    "models": set(),
    "batch": set(),
    "lock": {"errors"},
    "validation": {"errors"},
    "text": {"validation"},
    "run_files": {"errors"},
    "examples": {"errors", "run_files"},
    "project": {"errors"},
    "components": {"errors", "validation", "project"},
    "config": {"errors", "validation", "components", "renamed"},
    "data": {"errors", "randomness", "batch"},
    "optim": {"errors"},
    "tasks": {"errors", "batch", "lean_torchmetrics"},
    "loggers": {"errors", "run_files"},
    "study": {"errors", "randomness", "validation", "text", "run_files", "examples", "config", "lock", "renamed"},
    "training": {
        *("errors", "randomness", "text", "run_files", "examples", "components", "config", "lock", "lean_torchmetrics"),
        *("batch", "data", "optim", "tasks", "loggers"),
    },
    "analysis": {"errors", "validation", "text", "examples", "study"},
    "composition": {"errors", "validation", "components", "config"},
    "trial_config": {"errors", "validation", "config", "composition"},
    "cli": {"errors", "composition"},
    "report": {
        *("errors", "validation", "text", "run_files", "config", "loggers", "study", "analysis"),
        *("composition", "cli"),
    },
    "training_app": {"errors", "config", "trial_config", "loggers", "training", "study", "report"},
    "studies": {"composition", "trial_config", "cli", "study", "analysis", "training"},
    "bayesian": {"errors", "randomness", "text", "run_files", "config", "study", "analysis"},
    "procedures": {
        *("errors", "validation", "text", "run_files", "examples", "config", "composition", "trial_config"),
        *("study", "analysis", "report", "studies", "cli", "components", "data", "optim", "training"),
    },
}
TORCH_FREE = tuple(
    room
    for room in MAY_IMPORT
    if room not in ("batch", "data", "models", "optim", "tasks", "loggers", "training", "lean_torchmetrics")
)


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere, as a dotted path."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def files_of(room: str) -> list[Path]:
    module = PACKAGE / f"{room}.py"
    return [module] if module.exists() else sorted((PACKAGE / room).rglob("*.py"))


def rooms_of(names: set[str]) -> set[str]:
    """The rooms among imported names; `from playbook import components` is an import of `components` too."""
    parts = [name.split(".") for name in names if name.startswith("playbook.")]
    return {part[1] for part in parts} & set(MAY_IMPORT)


def test_every_room_is_there():
    here = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert here >= set(MAY_IMPORT)  # a fork may add rooms of its own


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_rooms_below(room):
    for path in files_of(room):
        assert rooms_of(imports(path)) <= MAY_IMPORT[room] | {room}, path


@pytest.mark.parametrize("room", TORCH_FREE)
def test_what_answers_at_once_imports_no_torch(room):
    heavy = ("torch", "pytorch_lightning", "torchmetrics", "sklearn")
    for path in files_of(room):
        assert not {name.split(".")[0] for name in imports(path)} & set(heavy), path
