"""What takes long to import is imported where it is used, and nowhere else."""

from pathlib import Path

import pytest
from command import ROOT, python

TRAIN = f"""
import runpy, sys
sys.argv = ["train.py", "logger=none", "max_steps=2", "eval_every=2", "trainer.device=cpu"]
try:
    runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
finally:
    print(*sys.modules)
    import scipy.signal
    print(callable(scipy.signal.find_peaks), scipy.signal.__file__ != "")
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The last lines of a process that has trained a run that is shown nowhere."""
    done = python("-c", TRAIN, folder=tmp_path_factory.mktemp("imported"))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-2:]


@pytest.fixture(scope="module")
def imported(printed: list[str]) -> set[str]:
    """The modules of that process."""
    return set(printed[0].split())


def test_a_run_that_is_shown_nowhere_does_not_import_wandb(imported: set[str]) -> None:
    assert "wandb" not in imported
    assert "playbook.loggers" in imported


def test_a_trial_does_not_import_what_its_libraries_do_not_use(imported: set[str]) -> None:
    """`playbook.lean_torchmetrics`; a second of the five that the imports of a trial take."""
    assert "torchmetrics" in imported
    assert not {"scipy.signal", "scipy.stats"} & imported


def test_torchmetrics_leaves_nothing_of_its_import_behind(printed: list[str]) -> None:
    assert printed[1].split() == ["True", "True"]


def test_the_package_of_loggers_imports_neither_wandb_nor_torch(tmp_path: Path) -> None:
    code = "import sys, playbook.loggers; print([name for name in ('wandb', 'torch') if name in sys.modules])"
    assert python("-c", code, folder=tmp_path).stdout.strip() == "[]"
