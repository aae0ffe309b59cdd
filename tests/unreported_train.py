"""`python train.py …` whose studies end without their report, which takes seconds: to test what is before."""

import runpy
from pathlib import Path

from playbook.training_app import TrainingApp

if __name__ == "__main__":
    TrainingApp.on_end = lambda *_: None  # type: ignore[method-assign,assignment]
    runpy.run_path(str(Path(__file__).parents[1] / "train.py"), run_name="__main__")
