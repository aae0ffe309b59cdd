"""Whether the best learning rate lies beside the unstable ones (E5, F7a).

Then the search space is not what limits it, and widening does not help: what lies beyond fails. Warmup, clipping or
another way to a stable start may open it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import polars as pl

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.regret import comparable
from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import Tables
from playbook.analysis.threshold import Cut, threshold


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    reach: float = 3.0
    """At the edge: instability begins at less than this many times the best learning rate."""
    sure: float = 0.01
    """The chance of as clear a threshold below which it is a problem."""
    likely: float = 0.2
    """The same for advice (3 of 8 trials: 0.13)."""


NAMES = ("lr", "learning_rate", "learningrate", "base_lr", "max_lr", "base_learning_rate")


@dataclass(frozen=True)
class Edge:
    """The best trial's learning rate beside the one above which most trials fail."""

    trial: int
    best: float
    unstable: Cut

    @property
    def ratio(self) -> float:
        """Instability begins at this many times the best learning rate."""
        return self.unstable.value / self.best if self.best > 0 else math.inf


def learning_rates(tables: Tables, arm: str) -> list[str]:
    """The learning rates among the hyperparameters that vary in an arm."""
    space = tables.space.get(arm, {})
    return [key for key, each in space.items() if key.split(".")[-1].lower() in NAMES and each.is_ordered]


def stability_edge(tables: Tables, arm: str, key: str) -> Edge | None:
    """Where instability begins, and the best stable trial; None where no value parts the trials that fail."""
    trials = comparable(tables.of_arm(arm))
    unstable = causes(tables).filter(pl.col("cause") != "out_of_memory")["trial"].implode()
    stable = tables.ranked(arm).filter(~pl.col("trial").is_in(unstable))
    begins = threshold(trials, trials["trial"].is_in(unstable), key, tables.space[arm][key], "above")
    if begins is None or not begins.separates() or not len(stable):
        return None
    return Edge(int(stable["trial"][0]), float(stable[key][0]), begins)


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`lr_at_stability_edge` for each arm and learning rate."""
    found = []
    for arm in tables.arms:
        for key in learning_rates(tables, arm):
            edge = stability_edge(tables, arm, key)
            if edge is not None and edge.ratio <= limits.reach and edge.unstable.p < limits.likely:
                found.append(_finding(tables, arm, key, edge, limits))
    return found


def _finding(tables: Tables, arm: str, key: str, edge: Edge, limits: Thresholds) -> Finding:
    beyond = edge.unstable
    severity: Literal["problem", "advice"] = "problem" if beyond.p < limits.sure else "advice"
    message = (
        f"The best {key}, {edge.best:.3g}, is at the edge of stability: above {beyond.value:.3g} {beyond.inside} of"
        f" {beyond.num_inside} trials failed, below it {beyond.outside} of {beyond.num_outside}."
        f" A larger {key} may be better once the instability is mended: try warmup, then clipping."
    )
    evidence = {
        "best": edge.best,
        "unstable_above": beyond.value,
        "ratio": edge.ratio,
        "failed_above": beyond.inside,
        "trials_above": beyond.num_inside,
        "failed_below": beyond.outside,
        "trials_below": beyond.num_outside,
        "p": beyond.p,
    }
    above = float(f"{2 * edge.best:.3g}")
    remedies = [Remedy({key: above, "max_steps": 500, "eval_every": 1}, "trial", edge.trial)]
    if tables.max_steps is not None and tables.max_steps // 20 > tables.warmup_steps:
        remedies.append(Remedy({"warmup_steps": tables.max_steps // 20}))
    return Finding(
        "lr_at_stability_edge",
        severity,
        "E5",
        message,
        arm=arm,
        parameter=key,
        trials=(edge.trial,),
        evidence=evidence,
        next=tuple(remedies),
    )
