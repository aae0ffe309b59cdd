"""The next search space: narrower around the set of the best settings, with what does not matter fixed (B1, B12).

- A hyperparameter that matters is searched where the set lies, with a margin, and where that is well inside the range:
  an end that the set comes near to is kept, since nothing says that it is no better there.
- One that cannot matter much (the upper end of its importance, joint and among the trials that trained) is fixed as the
  winner has it. Where it can be switched off, by 0, false or `none`, it can be removed (B1): what does not help is not
  worth its complexity.

It is said only where nothing comes first: an end to widen, an instability to mend, too few trials to see the set, or a
study in which nothing matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.noise_of_trials import noise_of
from playbook.analysis.position import positions
from playbook.analysis.regret import comparable
from playbook.analysis.repeats import averaged
from playbook.analysis.rules import boundary, stability_edge
from playbook.analysis.rules.best import best
from playbook.analysis.rules.few_trials import sampling
from playbook.analysis.rules.importance import importance
from playbook.analysis.rules.insensitive import is_insensitive
from playbook.analysis.tables import Tables
from playbook.study.space import Choice, Dimension, Float, Int, Value
from playbook.text import brief


@dataclass(frozen=True)
class Thresholds:
    """What is proposed; lengths are shares of the range."""

    margin: float = 0.1
    """Around the set, on either side."""
    saves: float = 0.25
    """Of the range that must fall away for a narrower one to be worth a new study."""
    near: float = 0.1
    """An end to which the set comes so near is kept."""
    fewest: int = 16
    """Settings below which the set says little of where it ends."""
    fewest_members: int = 3
    """Settings in the set, the same."""
    no_matter: float = 0.05
    """The upper end of a share of importance, below which a hyperparameter is fixed."""


@dataclass(frozen=True)
class Refined:
    """`narrowed` ranges, and what can be `fixed` at which value; of these `removed` are switched off."""

    narrowed: dict[str, Dimension]
    fixed: dict[str, Value]
    removed: tuple[str, ...]

    @property
    def changes(self) -> dict[str, Dimension]:
        """Of the search space: what is fixed has one choice."""
        return {**self.narrowed, **{key: Choice((value,)) for key, value in self.fixed.items()}}


def refined(tables: Tables, arm: str, limits: Thresholds = Thresholds()) -> Refined | None:
    """The next space of an arm; None where something else comes first, or where nothing would change."""
    answer = best(tables, arm)
    if (
        answer is None
        or tables.adaptive
        or noise_of(tables).of_one is None
        or answer.tried < limits.fewest
        or len(answer.members) < limits.fewest_members
        or is_insensitive(tables, arm)
        or sampling(tables, arm).verdict in ("few", "far too few")
        or any(each.severity() in ("advice", "problem") for each in boundary.edges(tables, arm))
        or any(each.arm == arm for each in stability_edge.find(tables))
    ):
        return None
    shares = [*importance(tables, arm), *importance(tables, arm, "trained")]
    matter = {each.key for each in shares if each.certain}
    if not matter:
        return None
    trials = comparable(averaged(tables).of_arm(arm))
    members = trials.filter(pl.col("trial").is_in(answer.members))
    winner = trials.row(by_predicate=pl.col("trial") == answer.trial, named=True)
    space = {key: each for key, each in tables.space[arm].items() if key in trials.columns and key not in tables.repeat}
    narrowed: dict[str, Dimension] = {}
    fixed: dict[str, Value] = {}
    removed: list[str] = []
    for key, dimension in space.items():
        if key in tables.scientific or trials[key].n_unique() < 2:
            continue
        if key in matter and dimension.is_ordered:
            narrower = _narrower(members[key], dimension, limits)
            narrowed |= {} if narrower is None else {key: narrower}
        known = [each for each in shares if each.key == key]
        if key not in matter and known and max(each.high for each in known) < limits.no_matter:
            off = _off(dimension)
            value = winner[key] if off is None else off[0]
            if value is not None:  # which no sweep can hold alone
                fixed[key] = value
                removed += [] if off is None else [key]
    return Refined(narrowed, fixed, tuple(removed)) if narrowed or fixed else None


def _narrower(members: pl.Series, dimension: Dimension, limits: Thresholds) -> Dimension | None:
    """The range around the set; None where that is nearly all of it."""
    at = positions(members, dimension)
    at = at[np.isfinite(at)]
    if not len(at):
        return None
    low, high = max(float(at.min()) - limits.margin, 0.0), min(float(at.max()) + limits.margin, 1.0)
    low, high = (0.0 if at.min() <= limits.near else low), (1.0 if at.max() >= 1 - limits.near else high)
    if high - low > 1 - limits.saves:
        return None
    if isinstance(dimension, Choice):
        kept = tuple(each for each in dimension.values if low <= dimension.position(each) <= high)
        return Choice(kept) if 1 < len(kept) < len(dimension.values) else None
    ends = [dimension.low if low == 0 else _at(dimension, low), dimension.high if high == 1 else _at(dimension, high)]
    if isinstance(dimension, Int):
        whole = Int(int(np.floor(ends[0])), int(np.ceil(ends[1])), dimension.scale)
        return whole if whole.is_ordered and whole != dimension else None
    return Float(ends[0], ends[1], dimension.scale) if dimension.low <= ends[0] < ends[1] <= dimension.high else None


def _at(dimension: Float | Int, position: float) -> float:
    """The value there, with two digits: of its distance from 1 where that is what counts."""
    low, high = dimension.to_scale(dimension.low), dimension.to_scale(dimension.high)
    value = dimension.from_scale(low + position * (high - low))
    if dimension.scale == "log_one_minus":
        return 1 - float(f"{1 - value:.2g}")
    return min(max(float(f"{value:.2g}"), dimension.low), dimension.high)


def _off(dimension: Dimension) -> tuple[Value] | None:
    """The value that switches a hyperparameter off, if it is among those searched."""
    if isinstance(dimension, Choice):
        return next(
            ((each,) for each in dimension.values if each is None or each is False or each in (0, "none")), None
        )
    return (dimension.low,) if dimension.low == 0 else None


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`refine` for each arm whose next space is known."""
    return [_finding(arm, found) for arm in tables.arms if (found := refined(tables, arm, limits)) is not None]


def _finding(arm: str, found: Refined) -> Finding:
    said = []
    if found.narrowed:
        ranges = [f"{key} in {_words(each)}" for key, each in found.narrowed.items()]
        said.append(f"The best settings lie in a part of the space: search {', '.join(ranges)} next.")
    kept = [f"{key}={brief(value)}" for key, value in found.fixed.items() if key not in found.removed]
    if kept:
        said.append(f"Hardly matters, so fix it: {', '.join(kept)}.")
    if found.removed:
        off = [f"{key}={brief(found.fixed[key])}" for key in found.removed]
        said.append(f"Does not help, so remove it: {', '.join(off)}.")
    evidence: dict[str, Any] = {
        "narrowed": {key: each.plain() for key, each in found.narrowed.items()},
        "fixed": dict(found.fixed),
        "removed": list(found.removed),
    }
    remedy = (Remedy(found.changes),)
    return Finding("refine", "info", "B12", " ".join(said), arm=arm, evidence=evidence, next=remedy)


def _words(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return ", ".join(map(str, dimension.values))
    return f"{dimension.low:.4g} to {dimension.high:.4g}"
