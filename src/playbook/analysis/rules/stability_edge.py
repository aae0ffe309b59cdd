"""Whether the best learning rates lie beside the unstable ones (E5, F7a).

It is about the set of settings that cannot be told from the best, by its median: where as good ones lie far below the
edge, and it does not get better towards it, the luckiest trial beside it says nothing. Where the set is at the edge,
the search space is not what limits it, and widening does not help: what lies beyond fails. Warmup, clipping or another
way to a stable start may open it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.noise_of_trials import noise_of
from playbook.analysis.regret import comparable
from playbook.analysis.rules.best import best
from playbook.analysis.rules.infeasible import causes
from playbook.analysis.tables import Tables
from playbook.analysis.threshold import Cut, threshold


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    reach: float = 3.0
    """At the edge: instability begins at less than this many times the learning rate, of the best and of the set."""
    improves: float = 0.01
    """The p-value of a set that gets better towards the edge, below which it is at the edge however wide."""
    sure: float = 0.01
    """The chance of as clear a threshold below which it is a problem."""
    likely: float = 0.2
    """The same for advice (3 of 8 trials: 0.13)."""


NAMES = ("lr", "learning_rate", "learningrate", "base_lr", "max_lr", "base_learning_rate")


@dataclass(frozen=True)
class Edge:
    """The best trial's learning rate, and the `median` of the set's, beside the one above which most trials fail.

    `p` is the chance that the better ones of the set lie as much nearer to the edge, if luck orders them.
    """

    trial: int
    best: float
    median: float
    p: float
    unstable: Cut

    @property
    def ratio(self) -> float:
        """Instability begins at this many times the best learning rate."""
        return self.unstable.value / self.best if self.best > 0 else math.inf

    def is_at(self, limits: Thresholds) -> bool:
        """Whether the set is at the edge, or the best trial is and the set gets better towards it."""
        of_set = self.unstable.value / self.median if self.median > 0 else math.inf
        return self.ratio <= limits.reach and (of_set <= limits.reach or self.p < limits.improves)


def learning_rates(tables: Tables, arm: str) -> list[str]:
    """The learning rates among the hyperparameters that vary in an arm."""
    space = tables.space.get(arm, {})
    return [key for key, each in space.items() if key.split(".")[-1].lower() in NAMES and each.is_ordered]


def stability_edge(tables: Tables, arm: str, key: str) -> Edge | None:
    """Where instability begins, and the best stable trial; None where no value parts the trials that fail."""
    trials = comparable(tables.of_arm(arm))
    unstable = causes(tables).filter(pl.col("cause") != "out_of_memory")["trial"].implode()
    stable = tables.ranked(arm).filter(~pl.col("trial").is_in(unstable))
    known = noise_of(tables).of_one is not None
    begins = threshold(trials, trials["trial"].is_in(unstable), key, tables.space[arm][key], "above")
    if begins is None or not begins.separates() or not len(stable):
        return None
    answer = best(tables, arm)
    of_set = stable.filter(pl.col("trial").is_in(answer.members if known and answer is not None else ()))[key]
    first = float(stable[key][0])
    median = float(np.median(of_set)) if len(of_set) else first
    return Edge(int(stable["trial"][0]), first, median, _improves(of_set), begins)


def _improves(best_first: pl.Series) -> float:
    """The chance that the better ones of a set have as much larger learning rates if luck orders it (Kendall)."""
    from scipy.stats import kendalltau

    if best_first.n_unique() < 2:
        return 1.0
    return float(kendalltau(best_first.to_numpy(), -np.arange(len(best_first)), alternative="greater").pvalue)


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`lr_at_stability_edge` for each arm and learning rate."""
    found = []
    for arm in tables.arms:
        for key in learning_rates(tables, arm):
            edge = stability_edge(tables, arm, key)
            if edge is not None and edge.is_at(limits) and edge.unstable.p < limits.likely:
                found.append(_finding(tables, arm, key, edge, limits))
    return found


def _finding(tables: Tables, arm: str, key: str, edge: Edge, limits: Thresholds) -> Finding:
    beyond = edge.unstable
    severity: Literal["problem", "advice"] = "problem" if beyond.p < limits.sure else "advice"
    message = (
        f"The best {key}, {edge.best:.3g} ({edge.median:.3g} the median of those as good), is at the edge of stability:"
        f" above {beyond.value:.3g} {beyond.inside} of {beyond.num_inside} trials failed, below it {beyond.outside} of"
        f" {beyond.num_outside}. A larger {key} may be better once that is mended: try warmup, then clipping."
    )
    evidence = {
        "best": edge.best,
        "median": edge.median,
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
