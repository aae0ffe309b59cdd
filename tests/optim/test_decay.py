"""Weight decay that follows the rate, and weight decay that follows the schedule alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from playbook.optim import (
    SGD,
    Adam,
    AdamW,
    Momentum,
    Muon,
    NAdam,
    Nesterov,
    RMSProp,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
)

OURS = [SGD, Momentum, Nesterov, RMSProp, Adam, NAdam, AdamW, Muon, ScheduleFreeSGD, ScheduleFreeAdamW]


def left_after(cls: Any, lr: float, schedule: list[float], **given: Any) -> float:
    """What is left of a matrix of ones without gradients after steps at these shares of the rate."""
    param = torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = cls([param], lr=lr, weight_decay=0.1, **given)
    for share in schedule:
        param.grad = torch.zeros_like(param)
        for group in optimizer.param_groups:
            group["lr"] = lr * share
        optimizer.step()
    if cls in (ScheduleFreeSGD, ScheduleFreeAdamW):
        return optimizer.state[param]["fast"][0, 0].item()
    return param[0, 0].item()


@pytest.mark.parametrize("cls", OURS)
def test_independent_decay_follows_the_schedule_and_not_the_rate(cls: Any) -> None:
    once = left_after(cls, 0.5, [1.0], decay="independent")
    assert once == pytest.approx(0.9, rel=1e-12)
    assert left_after(cls, 0.5, [1.0]) == pytest.approx(0.95, rel=1e-12)
    one, two = (left_after(cls, lr, [0.0, 0.5, 1.0, 0.3], decay="independent") for lr in (0.001, 3.0))
    assert one == pytest.approx(two, rel=1e-12)
    if cls not in (ScheduleFreeSGD, ScheduleFreeAdamW):  # theirs decays at y
        assert one == pytest.approx(0.95 * 0.9 * 0.97, rel=1e-12)


def test_groups_of_other_rates_decay_alike_and_what_is_saved_keeps_its_peak() -> None:
    slow, fast = (torch.ones(2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    groups: list[dict[str, Any]] = [{"params": [slow], "lr": 0.01}, {"params": [fast]}]
    optimizer = SGD(groups, lr=1.0, weight_decay=0.1, decay="independent")
    again = SGD([{"params": [slow], "lr": 0.7}, {"params": [fast]}], lr=2.0, weight_decay=0.2, decay="independent")
    again.load_state_dict(optimizer.state_dict())
    for param in (slow, fast):
        param.grad = torch.zeros_like(param)
    again.step()
    assert slow[0, 0].item() == fast[0, 0].item() == pytest.approx(0.9)
