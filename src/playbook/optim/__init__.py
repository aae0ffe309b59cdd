"""Optimizers as the playbook writes them, the learning-rate schedules, averages of weights, and which parameters decay.

A class here is what an `optimizer`, `schedule` or `averaging` option of the configuration names as its `_target_`.
"""

from playbook.optim.averaging import EMA, Averaging, NoAveraging, Polyak
from playbook.optim.base import averages, evaluation_weights
from playbook.optim.groups import parameter_groups
from playbook.optim.muon import Muon
from playbook.optim.optimizers import SGD, Adam, AdamW, Momentum, NAdam, Nesterov, RMSProp
from playbook.optim.schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from playbook.optim.schedules import WSD, Constant, Cosine, Linear, Schedule, learning_rate

__all__ = [
    "EMA",
    "SGD",
    "WSD",
    "Adam",
    "AdamW",
    "Averaging",
    "Constant",
    "Cosine",
    "Linear",
    "Momentum",
    "Muon",
    "NAdam",
    "Nesterov",
    "NoAveraging",
    "Polyak",
    "RMSProp",
    "Schedule",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "averages",
    "evaluation_weights",
    "learning_rate",
    "parameter_groups",
]
