"""W&B is imported where a run is sent there, and nowhere else."""

from pathlib import Path

from command import ROOT, python

TRAIN = f"""
import runpy, sys
sys.argv = ["train.py", "logger=none", "max_steps=2", "eval_every=2", "trainer.device=cpu"]
try:
    runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
finally:
    print("wandb" in sys.modules, "playbook.loggers" in sys.modules)
"""


def test_a_run_that_is_shown_nowhere_does_not_import_wandb(tmp_path: Path) -> None:
    done = python("-c", TRAIN, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "False True"


def test_the_package_of_loggers_imports_neither_wandb_nor_torch(tmp_path: Path) -> None:
    code = "import sys, playbook.loggers; print([name for name in ('wandb', 'torch') if name in sys.modules])"
    assert python("-c", code, folder=tmp_path).stdout.strip() == "[]"
