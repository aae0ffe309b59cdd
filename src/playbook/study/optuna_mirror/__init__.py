"""The same trials for Optuna's tools: a database that is made again from the files whenever it is lost."""

from playbook.study.optuna_mirror.mirror import OptunaMirror

__all__ = ["OptunaMirror"]
