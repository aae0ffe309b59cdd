"""Optimizers as the playbook writes them, the learning-rate schedules, and which parameters are decayed.

A class here is what an `optimizer` or `schedule` option of the configuration names as its `_target_`.
"""

from playbook.optim.groups import parameter_groups
from playbook.optim.optimizers import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp
from playbook.optim.schedules import Constant, Cosine, Linear, Schedule, learning_rate

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Linear",
    "Momentum",
    "NAdam",
    "Nesterov",
    "RMSProp",
    "Schedule",
    "learning_rate",
    "parameter_groups",
]
