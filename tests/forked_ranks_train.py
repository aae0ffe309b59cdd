"""`python train.py …` whose ranks are forks of it instead of new interpreters, each of which imports for seconds."""

import runpy
from pathlib import Path
from typing import Any

from playbook.training import distributed


def fork(*arguments: Any, **named: Any) -> Any:
    return start(*arguments, **named | {"start_method": "fork"})


if __name__ == "__main__":
    start, distributed.start_processes = distributed.start_processes, fork
    runpy.run_path(str(Path(__file__).parents[1] / "train.py"), run_name="__main__")
