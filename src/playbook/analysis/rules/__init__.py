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
    rungs,
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
    best.find,
    arms.find,
    crashed.find,
    boundary.find,
    stability_edge.find,
    infeasible.find,
    few_trials.find,
    rungs.find,
    overfitting.find,
    late_variance.find,
    still_improving.find,
    saturated.find,
    train_loss_rising.find,
    best_step.find,
    periodic.find,
    clipping.find,
    input_bound.find,
    unequal_steps.find,
    importance.find,
    insensitive.find,
    lr_sensitivity.find,
    transfer.find,
    refine.find,
)
"""In the order in which one reads a study: the answer, the space, what failed, how many trials, the curves, what was
learned."""


OF_POINTS_THAT_FILL_THE_SPACE = (few_trials.find, importance.find, insensitive.find, lr_sensitivity.find, refine.find)
"""What trials that were proposed from others do not show: they crowd where those were good (B12)."""


def find_all(tables: Tables) -> list[Finding]:
    """Every finding that no other contradicts: problems, then advice, then information; in the order of `RULES`."""
    if not len(tables.trials):
        return []
    rules = [find for find in RULES if not (tables.adaptive and find in OF_POINTS_THAT_FILL_THE_SPACE)]
    found = consistent([finding for find in rules for finding in find(tables)])
    return sorted(found, key=lambda each: SEVERITIES.index(each.severity))
