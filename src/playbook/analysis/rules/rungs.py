"""Did the trials that were stopped early deserve it? How far the order at a rung is that at the next (G7).

Short runs sort out the worst and mislead where slow starters win. Only trials that went on can be asked, and these are
the better ones of a rung: among them the order agrees less than among all, so that a correlation is a lower bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import polars as pl

from playbook.analysis.finding import Finding, Severity
from playbook.analysis.tables import Tables
from playbook.text import brief, count, listed


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    fewest: int = 5
    """Trials for an interval: the variance of Fisher's transform of Kendall's tau, 0.437 / (n - 4) (Fieller, Hartley
    and Pearson 1957), has no meaning below."""
    critical: float = 1.96
    """Of a 95 % interval."""
    variance: float = 0.437
    """See above."""
    low: float = 0.5
    """A tau surely below it: more than a quarter of the pairs change places, so another third might have won."""


def find(tables: Tables) -> list[Finding]:
    """One finding about all arms; nothing without rungs, or before any trial has come to one."""
    table = tables.rungs
    if not len(table):
        return []
    shares = sorted(set(table["share"].to_list()))
    came = {share: table.filter(pl.col("share") == share) for share in shares}
    said, correlations, surely_low = [], [], False
    for before, after in pairwise(shares):
        pairs = came[before].join(came[after], on="trial", suffix="_after").drop_nulls(["reached", "reached_after"])
        tau, low, high = _kendall(pairs["reached"].to_list(), pairs["reached_after"].to_list())
        correlations.append(
            {
                "from": before,
                "to": after,
                "trials": len(pairs),
                "tau": tau,
                "interval": None if low is None else [low, high],
            }
        )
        surely_low = surely_low or (high is not None and high < Thresholds.low)
        said.append(_said(before, after, len(pairs), tau, low, high))
    paused = table.filter(pl.col("status") == "paused")["trial"].unique().sort().to_list()
    ends = {share: "the end" if share == 1 else f"{share:g} of the steps" for share in shares}
    counts = listed([f"{count(len(came[share]), 'trial')} came to {ends[share]}" for share in shares])
    resting = f"; {count(len(paused), 'trial')} paused, and in no other verdict" if paused else ""
    message = f"{counts}{resting}. {' '.join(said)}".rstrip()
    message += (
        " Short runs mislead where slow starters win; no schedule was cut; a larger study.promote has more go on."
    )
    evidence: dict[str, Any] = {
        "rungs": [{"share": share, "trials": len(came[share])} for share in shares],
        "paused": paused,
        "correlations": correlations,
    }
    severity: Severity = "advice" if surely_low else "info"
    return [Finding("rungs", severity, "G7", message, None, None, tuple(paused), evidence)]


def _said(before: float, after: float, num: int, tau: float | None, low: float | None, high: float | None) -> str:
    where = f"How far the order at {before:g} is that at {after:g}"
    if tau is None:
        return f"{where} cannot be told, because {count(num, 'trial')} went on or all are level."
    if low is None or high is None:
        return f"{where} cannot be told, because {count(num, 'trial')} went on (Kendall's tau {brief(tau, 2)})."
    return (
        f"{where}, among the {num} that went on: Kendall's tau {brief(tau, 2)} ({brief(low, 2)} to {brief(high, 2)})."
    )


def _kendall(one: list[float], other: list[float]) -> tuple[float | None, float | None, float | None]:
    """Kendall's tau with the ends of its interval, None where there is none."""
    from scipy.stats import kendalltau

    if len(one) < 2:
        return None, None, None
    tau = float(kendalltau(one, other).statistic)
    if not math.isfinite(tau):
        return None, None, None
    if len(one) < Thresholds.fewest:
        return tau, None, None
    half = Thresholds.critical * math.sqrt(Thresholds.variance / (len(one) - 4))
    middle = math.atanh(max(min(tau, 0.999), -0.999))
    return tau, math.tanh(middle - half), math.tanh(middle + half)
