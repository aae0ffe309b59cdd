"""Rungs: all trials to a share of their steps, the better part of them on to the next share, the others paused (G7).

After successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943), with two differences. The learning rate is not
cut: a trial is a whole one, paused at a commit, and goes on from there bit for bit. And a rung begins when the one
before it has ended, so which trials go on is a function of what they reached, and of no machine.

What a trial has reached at a rung is the best of its evaluations until then, which its `evals.csv` says for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import polars as pl

from playbook.errors import InputError
from playbook.run_files import EVALS, RESULT, read_paused, read_table
from playbook.study.design import Objective, Trial
from playbook.validation import show

PROMOTE = 1 / 3
"""The share that goes on where nobody says: that of Hyperband's usual halving by 3 (Li et al. 2018, section 2.6)."""


def refuse_no_rungs(rungs: Sequence[float]) -> None:
    """Shares of the steps, ascending, the last of them all.

    Raises:
        InputError: other numbers.
    """
    ascending = all(low < high for low, high in pairwise(rungs))
    if rungs and not (ascending and rungs[0] > 0 and rungs[-1] == 1):
        raise InputError(
            f"study.rungs={show(list(rungs))}: allowed are shares of max_steps above 0, ascending, the last of them 1,"
            " such as [0.1,0.3,1]"
        )


def step_of_rung(plain: Mapping[str, Any], share: float) -> int | None:
    """The evaluation at which a trial of this config has done `share` of its steps after warmup; None: its end."""
    warmup, steps, every = int(plain["warmup_steps"]), int(plain["max_steps"]), int(plain["eval_every"])
    step = every * math.ceil((warmup + share * steps) / every - 1e-9)
    return step if step < warmup + steps else None


def has_come_to(own: Path, step: int | None) -> bool:
    """Whether the trial in a folder has ended, or rests at `step` or later; None: its end."""
    if (own / RESULT).exists():
        return True
    paused = None if step is None else read_paused(own)
    return paused is not None and step is not None and paused.steps >= step


def reached(curve: pl.DataFrame, step: int | None, mode: Literal["min", "max"]) -> float | None:
    """The best of the objective's evaluations (`step`, `value`) up to `step`; None where it has not come to it."""
    until = curve if step is None else curve.filter(pl.col("step") <= step)
    if not len(until) or (step is not None and until["step"].max() != step):
        return None
    best = until["value"].min() if mode == "min" else until["value"].max()
    finite = bool(until["value"].is_finite().all())
    return float(best) if finite and isinstance(best, int | float) else None


def objective_curve(own: Path, objective: Objective) -> pl.DataFrame:
    """`step` and `value` of the objective of the trial in a folder."""
    return read_table(own, EVALS).filter(pl.col("metric") == objective.metric).select("step", "value")


def promoted(
    trials: Iterable[Trial], reached: Mapping[int, float | None], mode: Literal["min", "max"], share: float
) -> list[Trial]:
    """The better `share` of the trials of each arm, at least one; of equals the first.

    Arms are compared at their ends, so each goes on with as many (B3). One that reached nothing never goes on.
    """
    trials = list(trials)
    found: set[int] = set()
    for arm in dict.fromkeys(trial.arm for trial in trials):
        of_arm = [trial.number for trial in trials if trial.arm == arm]
        sign = 1 if mode == "min" else -1
        ranked = sorted((sign * value, number) for number in of_arm if (value := reached.get(number)) is not None)
        found |= {number for _, number in ranked[: max(1, math.ceil(share * len(of_arm) - 1e-9))]}
    return [trial for trial in trials if trial.number in found]


def planned_shares(rungs: Sequence[float], promote: float, num: int) -> list[float]:
    """The share of its steps that each of `num` trials does, those first that go farthest; 1 without rungs."""
    shares, left = [1.0 if not rungs else rungs[0]] * num, num
    for share in rungs[1:]:
        left = max(1, math.ceil(promote * left - 1e-9)) if left else 0
        shares[:left] = [share] * left
    return shares


def said_of_rungs(rungs: Sequence[float], promote: float) -> str:
    """A line of the plan: who goes on where; empty without rungs."""
    if len(rungs) < 2:
        return ""
    shown = ", ".join(f"{share:g}" for share in rungs)
    return f"at {shown} of the steps; the best {promote:.0%} of each arm go on, the others pause"
