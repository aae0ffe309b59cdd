"""Whether the best learning rate of a small model serves a larger one (G3): how it drifts with the width, or the depth.

For each size the objective over log lr is a smooth curve and noise (`surface`), of which the trials leave many curves
possible: where each of these is lowest is a draw of lr*, so that the interval of lr* is as wide as the valley is flat
and as its trials are few and noisy. The exponent of lr* ∝ size^slope has that uncertainty, and no other: that lr*
follows a power law of the size is taken for granted.

The verdict is about all of the sizes that were tried. A learning rate that moves by less than a factor of two from the
smallest to the largest *transfers*; one that surely moves, and may move farther, *drifts*.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from playbook.analysis.finding import Finding
from playbook.analysis.regret import Values, comparable
from playbook.analysis.repeats import trained_settings
from playbook.analysis.rules.stability_edge import learning_rates
from playbook.analysis.surface import FEWEST, surface
from playbook.analysis.tables import Tables, computed_once
from playbook.study.space import is_number
from playbook.text import brief, listed
from playbook.validation import show

Verdict = Literal["transfers", "drifts", "cannot tell"]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    sizes: int = 3
    """Fewest, of which a line through two says nothing of its noise."""
    factor: float = 2.0
    """By which lr* may differ between the smallest and the largest: learning rates are commonly tuned by such steps."""
    level: float = 0.95
    """Of the intervals."""
    draws: int = 4000
    """Of curves: the ends of an interval are good to a few hundredths of its width."""
    grid: int = 121
    """Learning rates at which a curve is looked at."""
    near: float = 1.5 * math.log(10)
    """How far from the best learning rates, in log lr, a trial still says where the valley is lowest."""
    at_edge: float = 0.1
    """The share of the curves that are lowest at the end of what was searched, from which on lr* is not known."""


@dataclass(frozen=True)
class BestLr:
    """lr* of the models of one size: the median and the interval of its draws, in the units of lr.

    `edge` says at which end of the learning rates that were searched it lies, and `draws` (draws,) are of log lr*.
    """

    arm: str
    size: float
    lr: float
    interval: tuple[float, float]
    edge: Literal["low", "high"] | None
    draws: Values


@dataclass(frozen=True)
class Transfer:
    """The drift of lr* with a size, such as model.width, among arms that differ in nothing else: the `family`.

    lr* ∝ size^`slope`, which `interval` holds with 95 %; `ratio` is what that makes of the largest size's lr* over
    that of the smallest. None, with a `reason`, where it cannot be known.
    """

    key: str
    lr_key: str
    family: str
    best: tuple[BestLr, ...]
    slope: float | None
    interval: tuple[float, float] | None
    ratio: float | None
    verdict: Verdict
    reason: str = ""


@computed_once
def transfers(tables: Tables, limits: Thresholds = Thresholds()) -> tuple[Transfer, ...]:
    """For each size that is scientific, the families in order of appearance; empty where there is nothing to ask."""
    found = []
    for key in tables.scientific:
        if not key.startswith("model.") or key not in tables.trials.columns:
            continue
        for family, sizes in _families(tables, key).items():
            if len(sizes) >= limits.sizes:
                found.append(_transfer(tables, key, family, sizes, limits))
    return tuple(each for each in found if each is not None)


def _families(tables: Tables, key: str) -> dict[str, dict[float, str]]:
    """The arms by their name without the size, and by size."""
    families: dict[str, dict[float, str]] = {}
    for arm in tables.arms:
        values = tables.of_arm(arm)[key].unique().to_list()
        if len(values) != 1 or not is_number(values[0]) or not values[0] > 0:
            continue
        labels = [label for label in arm.split(",") if label != f"{key}={show(values[0])}"]
        families.setdefault(",".join(labels), {})[float(values[0])] = arm
    return {family: dict(sorted(sizes.items())) for family, sizes in families.items()}


def _transfer(tables: Tables, key: str, family: str, sizes: Mapping[float, str], limits: Thresholds) -> Transfer | None:
    lrs = {tuple(learning_rates(tables, arm)) for arm in sizes.values()}
    if len(lrs) != 1 or len(names := lrs.pop()) != 1 or names[0] not in tables.trials.columns:
        return None
    found, missing = [], []
    for size, arm in sizes.items():
        best = best_lr(tables, arm, names[0], size, limits)
        found += [best] if isinstance(best, BestLr) else []
        missing += [f"at {key}={brief(size)} {best}"] if isinstance(best, str) else []
    edges = [
        f"at {key}={brief(each.size)} it lies at the {each.edge} end of what was searched"
        for each in found
        if each.edge
    ]
    if missing or edges:
        reason = "; ".join([*missing, *edges])
        return Transfer(key, names[0], family, tuple(found), None, None, None, "cannot tell", reason)
    logs = np.log([each.size for each in found])
    spread = np.array([max(float(each.draws.std()), 1e-6) for each in found])
    weight = spread**-2
    centred = logs - weight @ logs / weight.sum()
    slopes = (centred * weight) @ np.stack([each.draws for each in found]) / (weight @ centred**2)
    low, slope, high = _quantiles(slopes, limits)
    ratio, far = math.exp(slope * (logs[-1] - logs[0])), math.log(limits.factor) / (logs[-1] - logs[0])
    verdict: Verdict = "cannot tell"
    if max(abs(low), abs(high)) <= far:
        verdict = "transfers"
    elif low > 0 or high < 0:
        verdict = "drifts"
    reason = ""
    if verdict == "cannot tell":
        reason = (
            f"the exponent is {low:.2g} to {high:.2g} with {limits.level:.0%}: it holds 0, and more than a factor of"
            f" {limits.factor:g}"
        )
    return Transfer(key, names[0], family, tuple(found), slope, (low, high), ratio, verdict, reason)


@computed_once
def best_lr(tables: Tables, arm: str, key: str, size: float, limits: Thresholds = Thresholds()) -> BestLr | str:
    """lr* of an arm, or why it has none.

    What is fitted is log(1 + regret), near the best learning rates: of a wall where training fails, and of what lies
    decades away, no smooth curve makes a part of the valley. Where the valley is lopsided, lr* is placed a little to
    its flatter side, in all sizes alike.
    """
    settings = trained_settings(tables, arm)
    lr_of = dict(tables.of_arm(arm).select("trial", key).iter_rows())
    lrs = [lr_of[each.trial] for each in settings]
    if any(not is_number(lr) or lr <= 0 for lr in lrs):
        return f"{key} is not always a number above 0"
    others = [each for each in tables.space[arm] if each not in (key, *tables.repeat) and each in tables.trials.columns]
    if varied := [each for each in others if tables.of_arm(arm)[each].n_unique() > 1]:
        return f"{listed(varied)} varies beside {key}"
    order = np.argsort(lrs, kind="stable")
    logs, loss = np.log(np.array(lrs, dtype=np.float64))[order], np.array([each.loss for each in settings])[order]
    counts = np.array([len(each.trials) for each in settings], dtype=np.float64)[order]
    if len(settings) < FEWEST:
        return f"{len(settings)} settings trained, of {FEWEST} that a curve needs"
    near = _near_best(logs, loss, limits)
    unit = float(np.median(loss)) - loss.min()
    value, log = np.log1p((loss[near] - loss.min()) / (unit if unit > 0 else 1.0)), logs[near]
    fit = surface(((log - log[0]) / limits.near)[:, None], value, counts[near])
    if fit is None:
        return "no curve goes through its objectives"
    grid = np.linspace(log[0], log[-1], limits.grid)
    mean, covariance = fit.at(((grid - log[0]) / limits.near)[:, None])
    spectrum, vectors = np.linalg.eigh(covariance)
    normal = np.random.default_rng(0).standard_normal((limits.draws, limits.grid))
    lowest = (mean + normal @ (vectors * np.sqrt(np.maximum(spectrum, 0))).T).argmin(axis=1)
    draws, at_top = grid[lowest], lowest == limits.grid - 1
    # Above the largest that trained may lie those that failed: lr* is then below the first of them, and at no edge.
    above = [math.log(lr) for lr in _failed(tables, arm, key) if math.log(lr) > log[-1]]
    if above:
        draws = np.where(at_top, np.random.default_rng(1).uniform(log[-1], min(above), limits.draws), draws)
    edge: Literal["low", "high"] | None = None
    if np.mean(lowest == 0) > limits.at_edge:
        edge = "low"
    elif at_top.mean() > limits.at_edge and not above:
        edge = "high"
    low, middle, high = (math.exp(each) for each in _quantiles(draws, limits))
    return BestLr(arm, size, middle, (low, high), edge, draws)


def _near_best(logs: Values, loss: Values, limits: Thresholds) -> NDArray[np.bool_]:
    """Which learning rates, in order, lie near the one that is best among its neighbours: `FEWEST` at least."""
    padded = np.pad(np.minimum(loss, np.median(loss)), 1, mode="edge")
    middle = logs[(padded[:-2] + padded[1:-1] + padded[2:]).argmin()]
    away = np.abs(logs - middle)
    return away <= max(limits.near, np.sort(away)[FEWEST - 1])


def _failed(tables: Tables, arm: str, key: str) -> list[float]:
    rows = comparable(tables.of_arm(arm)).filter((pl.col("status") == "infeasible") | ~pl.col("objective").is_finite())
    return [value for value in rows[key].to_list() if is_number(value) and value > 0]


def _quantiles(draws: Values, limits: Thresholds) -> tuple[float, float, float]:
    tail = (1 - limits.level) / 2
    low, middle, high = np.quantile(draws, [tail, 0.5, 1 - tail])
    return float(low), float(middle), float(high)


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`transfer` for each family of sizes."""
    return [_finding(each) for each in transfers(tables, limits)]


def _finding(found: Transfer) -> Finding:
    of = f"With {found.family} the" if found.family else "The"
    each_size = [
        f"{brief(each.lr, digits=2)} ({brief(each.interval[0], digits=2)} to {brief(each.interval[1], digits=2)}) at"
        f" {brief(each.size)}"
        for each in found.best
    ]
    seen = ", ".join(each_size)
    message = f"{of} best {found.lr_key} by {found.key}: {seen or 'unknown'}."
    if found.slope is not None and found.interval is not None:
        low, high = found.interval
        message += f" It changes as {found.key}^{found.slope:.2f} ({low:.2f} to {high:.2f})."
    said = {
        "transfers": " It transfers.",
        "drifts": f" It drifts: {brief(found.ratio or 0.0, digits=2)} times from smallest to largest. Tune it"
        " at the size that you use, or make up for the width (model.parametrization=mup).",
        "cannot tell": f" Whether it transfers cannot be told, because {found.reason}.",
    }
    message += said[found.verdict]
    evidence: dict[str, Any] = {
        "family": found.family,
        "sizes": [
            {"size": each.size, "arm": each.arm, "lr": each.lr, "interval": list(each.interval), "edge": each.edge}
            for each in found.best
        ],
        "slope": found.slope,
        "interval": None if found.interval is None else list(found.interval),
        "ratio": found.ratio,
        "verdict": found.verdict,
        "reason": found.reason,
    }
    severity: Literal["info", "advice"] = "info" if found.verdict == "transfers" else "advice"
    return Finding("transfer", severity, "G3", message, parameter=found.key, evidence=evidence)
