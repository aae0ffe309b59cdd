"""How often was the gradient clipped, and where should the threshold be? (E7)

Clipping is for the rare large gradient: at the 90th percentile of the norms one step in ten is clipped. Where most
steps are, every step has about the same length, which is a lower learning rate in disguise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.curves.rectangle import BEST, MONSTROUS
from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.tables import Tables

AGGRESSIVE = 0.5
"""The share of clipped steps beyond which clipping is a lower learning rate (E7)."""
PERCENTILE = 90
FEWEST_STEPS = 20


def threshold(norms: pl.Series) -> float | None:
    """The 90th percentile of the unclipped norms of a run's steps, of two digits; None where there are too few."""
    finite = norms.filter(norms < MONSTROUS)
    if len(finite) < FEWEST_STEPS:
        return None
    return float(f"{np.percentile(finite.to_numpy(), PERCENTILE):.2g}")


def numbers(tables: Tables) -> pl.DataFrame:
    """A row a trial whose steps are here: `clipped` (share of steps), `clip_norm` (None: not clipped), `threshold`
    (proposed), and `largest` and `median` of the unclipped norms."""
    own = dict(tables.trials.select("trial", "clip_norm").iter_rows()) if "clip_norm" in tables.trials.columns else {}
    rows: list[dict[str, Any]] = []
    for trial, steps in tables.steps.items():
        if "grad_norm" not in steps.columns or (proposed := threshold(steps["grad_norm"])) is None:
            continue
        norms = steps["grad_norm"].filter(steps["grad_norm"] < MONSTROUS)
        row = {"trial": trial, "clip_norm": own.get(trial, tables.clip_norm), "threshold": proposed}
        clipped = steps["clipped"].cast(pl.Float64()).mean() if "clipped" in steps.columns else 0.0
        rows.append({**row, "clipped": clipped, "largest": norms.max(), "median": norms.median()})
    return pl.DataFrame(rows, schema=_SCHEMA)


_SCHEMA: dict[str, Any] = {
    "trial": pl.Int64(),
    "clip_norm": pl.Float64(),
    "threshold": pl.Float64(),
    "clipped": pl.Float64(),
    "largest": pl.Float64(),
    "median": pl.Float64(),
}


def find(tables: Tables) -> list[Finding]:
    """For each arm: were most steps of its best trials clipped, and which threshold follows from their norms."""
    table = numbers(tables)
    if not len(table):
        return []
    order = (
        tables.ranked().select("arm", "trial").with_row_index("rank").join(table, on="trial", how="inner").sort("rank")
    )
    found = []
    for arm in tables.arms:
        rows = order.filter(pl.col("arm") == arm).drop("arm", "rank").head(BEST)
        if len(rows):
            found += _of_arm(arm, rows)
    return found


def _of_arm(arm: str, rows: pl.DataFrame) -> list[Finding]:
    proposed = float(f"{np.median(rows['threshold'].to_numpy()):.2g}")
    percentile = f"the {PERCENTILE}th percentile of the unclipped norms"
    evidence = {"percentile": PERCENTILE, "trials": rows.to_dicts()}
    trials = tuple(rows["trial"].to_list())
    remedy = (Remedy({"clip_norm": proposed}),)
    found = []
    most = rows.filter(pl.col("clipped") > AGGRESSIVE)
    if rows["clipped"][0] > AGGRESSIVE or 2 * len(most) > len(rows):
        one = most.row(0, named=True)
        at = "" if one["clip_norm"] is None else f" at clip_norm={one['clip_norm']:g}"
        message = (
            f"Trial {one['trial']}, one of the best, had {one['clipped']:.0%} of its steps clipped{at}: that is a lower"
            f" learning rate in disguise. The usual threshold would be {proposed:g}, {percentile}."
        )
        found.append(
            Finding("clipping_aggressive", "problem", "E7", message, arm, "clip_norm", trials, evidence, remedy)
        )
    best = rows.row(0, named=True)
    of = "trial" if len(rows) == 1 else f"{len(rows)} trials"
    message = (
        f"To clip gradients, begin with clip_norm={proposed:g}, {percentile} of the best {of} (trial {best['trial']}:"
        f" median {best['median']:.2g}, largest {best['largest']:.2g})."
    )
    found.append(Finding("clip_threshold", "info", "E7", message, arm, "clip_norm", trials, evidence, remedy))
    return found
