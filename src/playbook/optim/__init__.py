"""Optimizers as the playbook writes them, the learning-rate schedules, averages of weights, and which parameters decay.

A class here is what an `optimizer`, `schedule` or `averaging` option of the configuration names as its `_target_`.
"""

from playbook.optim.averaging import EMA, Averaging, NoAveraging, Polyak
from playbook.optim.groups import parameter_groups
from playbook.optim.optimizers import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp
from playbook.optim.schedules import Constant, Cosine, Linear, Schedule, learning_rate

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "Averaging",
    "Constant",
    "Cosine",
    "Linear",
    "Momentum",
    "NAdam",
    "Nesterov",
    "NoAveraging",
    "Polyak",
    "RMSProp",
    "Schedule",
    "learning_rate",
    "parameter_groups",
]
