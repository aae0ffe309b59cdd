"""How often was the gradient clipped, and where should the threshold be? (E7)

Clipping is for the rare large gradient: at the 90th percentile of the norms one step in ten is clipped. Where most
steps are, every step has about the same length, which is a lower learning rate in disguise: then it is lowered openly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from playbook.analysis.curves import rectangle
from playbook.analysis.curves.rectangle import best_first
from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.remedies import scaled
from playbook.analysis.rules.stability_edge import learning_rates
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdicts depend on."""

    aggressive: float = 0.5
    """The share of clipped steps beyond which clipping is a lower learning rate (E7)."""
    percentile: float = 90
    """Of the unclipped norms, where the proposed threshold lies."""
    fewest_steps: int = 20
    """Steps below which no threshold is proposed."""


def norm_percentile(norms: pl.Series, percentile: float = Thresholds.percentile) -> float | None:
    """The percentile (linear between steps) of those of a run's unclipped gradient norms that are finite; None without
    any."""
    finite = norms.filter(norms < rectangle.Thresholds.infinite)
    return float(np.percentile(finite.to_numpy(), percentile)) if len(finite) else None


def threshold(norms: pl.Series, limits: Thresholds = Thresholds()) -> float | None:
    """The proposed `clip_norm`, of two digits: a percentile of a run's norms; None where there are too few steps."""
    norm = norm_percentile(norms, limits.percentile)
    return (
        None
        if norm is None or len(norms.filter(norms < rectangle.Thresholds.infinite)) < limits.fewest_steps
        else float(f"{norm:.2g}")
    )


def numbers(tables: Tables, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial whose steps are here: `clipped` (share of steps), `clip_norm` (None: not clipped), `threshold`
    (proposed), `largest` and `median` of the unclipped norms, `lr` (the highest of its steps), and `kept`, the typical
    share of its length that clipping leaves a step."""
    own = dict(tables.trials.select("trial", "clip_norm").iter_rows()) if "clip_norm" in tables.trials.columns else {}
    rows: list[dict[str, Any]] = []
    for trial, steps in tables.steps.items():
        if "grad_norm" not in steps.columns or (proposed := threshold(steps["grad_norm"], limits)) is None:
            continue
        norms = steps["grad_norm"].filter(steps["grad_norm"] < rectangle.Thresholds.infinite)
        row = {"trial": trial, "clip_norm": own.get(trial, tables.clip_norm), "threshold": proposed}
        clipped = steps["clipped"].cast(pl.Float64()).mean() if "clipped" in steps.columns else 0.0
        rates = steps["lr"].drop_nans().drop_nulls() if "lr" in steps.columns else pl.Series([], dtype=pl.Float64())
        row |= {"clipped": clipped, "largest": norms.max(), "median": norms.median(), "lr": rates.max()}
        limit, middle = row["clip_norm"], row["median"]
        rows.append({**row, "kept": min(1.0, limit / middle) if limit and middle else None})
    return pl.DataFrame(rows, schema=_SCHEMA)


_SCHEMA: dict[str, Any] = {
    "trial": pl.Int64(),
    "clip_norm": pl.Float64(),
    "threshold": pl.Float64(),
    "clipped": pl.Float64(),
    "largest": pl.Float64(),
    "median": pl.Float64(),
    "lr": pl.Float64(),
    "kept": pl.Float64(),
}


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """For each arm: were most steps of its best trials clipped, and which threshold follows from their norms."""
    table = numbers(tables, limits)
    if not len(table):
        return []
    return [
        finding
        for arm, rows in best_first(tables, table)
        for finding in _of_arm(tables, arm, rows.head(rectangle.Thresholds.best), limits)
    ]


def _of_arm(tables: Tables, arm: str, rows: pl.DataFrame, limits: Thresholds) -> list[Finding]:
    proposed = float(f"{np.median(rows['threshold'].to_numpy()):.2g}")
    percentile = f"the {limits.percentile:g}th percentile of the unclipped norms"
    evidence = {"percentile": limits.percentile, "trials": rows.to_dicts()}
    trials = tuple(rows["trial"].to_list())
    remedy = (Remedy({"clip_norm": proposed}),)
    found = []
    most = rows.filter(pl.col("clipped") > limits.aggressive)
    if rows["clipped"][0] > limits.aggressive or 2 * len(most) > len(rows):
        one = most.row(0, named=True)
        at = "" if one["clip_norm"] is None else f" at clip_norm={one['clip_norm']:g}"
        message = (
            f"Trial {one['trial']}, one of the best, had {one['clipped']:.0%} of its steps clipped{at}: that is a lower"
            f" learning rate in disguise. Lower it openly, and clip only the rare large gradient: {proposed:g} is"
            f" {percentile}."
        )
        lower = (_lower_lr(tables, arm, most, proposed) or remedy[0],)
        found.append(
            Finding("clipping_aggressive", "problem", "E7", message, arm, "clip_norm", trials, evidence, lower)
        )
    best = rows.row(0, named=True)
    of = "trial" if len(rows) == 1 else f"{len(rows)} trials"
    message = (
        f"To clip gradients, begin with clip_norm={proposed:g}, {percentile} of the best {of} (trial {best['trial']}:"
        f" median {best['median']:.2g}, largest {best['largest']:.2g})."
    )
    found.append(Finding("clip_threshold", "info", "E7", message, arm, "clip_norm", trials, evidence, remedy))
    return found


def _lower_lr(tables: Tables, arm: str, clipped: pl.DataFrame, clip_norm: float) -> Remedy | None:
    """The study at the rate that the clipped trials had in effect, or with a searched range lower by as much."""
    if (kept := clipped["kept"].median()) is None:
        return None
    assert isinstance(kept, float)
    for key in learning_rates(tables, arm):
        lower = scaled(tables.space[arm][key], kept)
        return None if lower is None else Remedy({key: lower, "clip_norm": clip_norm})
    rate = clipped["lr"][0]
    return None if rate is None else Remedy({"lr": float(f"{rate * kept:.2g}"), "clip_norm": clip_norm})
