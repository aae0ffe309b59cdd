"""All that a study's tables say: every rule asked once, the worst answers first."""

from __future__ import annotations

from collections.abc import Callable

from playbook.analysis.finding import Finding
from playbook.analysis.rules import (
    arms,
    best,
    best_step,
    boundary,
    clipping,
    crashed,
    few_trials,
    importance,
    infeasible,
    input_bound,
    insensitive,
    late_variance,
    lr_sensitivity,
    overfitting,
    periodic,
    refine,
    saturated,
    stability_edge,
    still_improving,
    train_loss_rising,
    transfer,
    unequal_steps,
)
from playbook.analysis.rules.length import consistent
from playbook.analysis.tables import Tables

SEVERITIES = ("problem", "advice", "info")

RULES: tuple[Callable[[Tables], list[Finding]], ...] = (
    crashed.find,
    boundary.find,
    stability_edge.find,
    infeasible.find,
    few_trials.find,
    overfitting.find,
    late_variance.find,
    still_improving.find,
    saturated.find,
    train_loss_rising.find,
    best_step.find,
    periodic.find,
    clipping.find,
    input_bound.find,
    best.find,
    unequal_steps.find,
    arms.find,
    importance.find,
    insensitive.find,
    lr_sensitivity.find,
    transfer.find,
    refine.find,
)
"""In the order in which one reads a study: the space, what failed, how many trials, the curves, what was learned."""


def find_all(tables: Tables) -> list[Finding]:
    """Every finding that no other contradicts: problems, then advice, then information; in the order of `RULES`."""
    if not len(tables.trials):
        return []
    found = consistent([finding for find in RULES for finding in find(tables)])
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))
