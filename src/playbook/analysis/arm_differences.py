"""By how much one arm is worse than another, with its standard error: what the luck of a search can do is in it.

Arms that share their points are compared point by point: the luck of where the points fell is the same for both. The
better points count, by the mean of the pair, which says nothing about its difference; and of those a pair of which one
went wrong counts no more than the others (Huber). Arms of one setting each are compared by their repeats (Welch). Else
a smooth surface through each arm says how low it goes; where that cannot be told, the better halves of the arms are
compared as samples (Yuen 1974).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from playbook.analysis.noise_of_trials import is_relative, noise_of, places_of, surface_of
from playbook.analysis.regret import Values
from playbook.analysis.repeats import Setting, trained_settings
from playbook.analysis.robust_mean import robust_mean
from playbook.analysis.tables import Tables, computed_once
from playbook.validation import show

Method = Literal["pairs", "repeats", "surface", "halves"]
DRAWS = 400
"""Of a surface: its lowest value is known to a twentieth of its standard error."""
CANDIDATES = 200
"""Places where a surface may be lowest, beside those that were tried."""
SMOOTH_IN = 3
"""Hyperparameters: in more, a surface through some dozens of settings is a guess."""
MOST_SURFACES = 20
"""Arms: of more, each with a fit, the report would take minutes."""


@dataclass(frozen=True)
class Thresholds:
    """What a comparison needs."""

    fewest_pairs: int = 8
    """Points that two arms share: the better ones of fewer have a standard error of its own luck."""
    better: float = 0.625
    """The share of the points that counts. With half of them, two arms apart by 2 seed sd at 16 points were told in .88
    to .92 of simulations, now in .93 to .98; with three quarters, arms that reach the same but of which one goes wrong
    at more points would be told apart twice as often."""
    wider: float = 1.1
    """The standard error of a mean of pairs, for the few values that it rests on: without it equal arms were told apart
    in .03 (heavy tails) to .056 (normal seeds) of simulations, with it in .01 to .04."""
    fewest_settings: int = 6
    """Settings of an arm, where they are compared as samples."""
    fewest_repeats: int = 3
    """Of a setting, where arms have one each."""
    agreement: float = 0.5
    """How much of a difference between pairs the arms' own better points must show: arms whose best lies elsewhere
    differ at each point and not in what they reach."""
    luck: float = 4.0
    """Standard deviations of pairs, up to which a trial is ahead of its pair by luck: farther, it may be the one place
    where an arm is better."""
    rougher: float = 1.3
    """How much less sure a surface's lowest value is than its model says: real surfaces have edges and plateaus."""


@dataclass(frozen=True)
class Difference:
    """How much worse the other arm is: `by`, with the standard error `se` on `degrees` of freedom, in units of loss.

    They are of the logarithm of the loss where noise is a share of it.
    """

    by: float
    se: float
    degrees: float
    method: Method


def difference(tables: Tables, one: str, other: str, limits: Thresholds = Thresholds()) -> Difference | None:
    """How much worse `other` is than `one`; None where they are too few to say."""
    settings = [trained_settings(tables, arm) for arm in (one, other)]
    if not all(settings):
        return None
    if all(len(each) == 1 for each in settings):
        return _of_repeats(tables, settings[0][0], settings[1][0], limits)
    found = _of_pairs(tables, one, other, limits)
    return found or _of_surfaces(tables, one, other, limits) or _of_halves(tables, settings[0], settings[1], limits)


def _of_repeats(tables: Tables, one: Setting, other: Setting, limits: Thresholds) -> Difference | None:
    """Of two settings: each by its own spread, where it is repeated often enough."""
    samples = [_values(tables, each.losses) for each in (one, other)]
    if any(len(each) < limits.fewest_repeats for each in samples):
        return None
    return _welch(
        samples, [float(np.var(each, ddof=1)) / len(each) for each in samples], [len(each) for each in samples]
    )


def _welch(samples: Sequence[Values], squares: Sequence[float], counts: Sequence[int]) -> Difference | None:
    """The difference of two means whose squared standard errors rest on so many values each."""
    total = sum(squares)
    if not total > 0:
        return None
    degrees = total**2 / sum(each**2 / (count - 1) for each, count in zip(squares, counts, strict=True))
    return Difference(float(samples[1].mean() - samples[0].mean()), float(np.sqrt(total)), float(degrees), "repeats")


def _of_pairs(tables: Tables, one: str, other: str, limits: Thresholds) -> Difference | None:
    pairs = shared_points(tables, one, other)
    if len(pairs) < limits.fewest_pairs:
        return None
    values = _values(tables, np.array([[each.loss for each in pair] for pair in pairs]))
    better = math.ceil(limits.better * len(values))
    chosen = values[np.argsort(values.mean(axis=1), kind="stable")[:better]]
    found = robust_mean(chosen[:, 1] - chosen[:, 0])
    one_own, other_own = (np.sort(values[:, place])[:better] for place in (0, 1))
    by, of_own = found.mean, robust_mean(other_own - one_own).mean
    if abs(by) and of_own / by < limits.agreement:
        by = 0.0 if of_own / by < 0 else of_own
    return Difference(by, limits.wider * found.se, found.degrees, "pairs") if found.se > 0 else None


def is_best_by_luck(tables: Tables, one: str, other: str, apart: Difference, limits: Thresholds = Thresholds()) -> bool:
    """Whether the best setting of `one` is ahead of its pair by no more than pairs are that differ by `apart`."""
    pairs = shared_points(tables, one, other)
    best = next((pair for pair in pairs if pair[0] is trained_settings(tables, one)[0]), None)
    if best is None:
        return False
    ahead = float(np.diff(_values(tables, np.array([each.loss for each in best])))[0])
    spread = apart.se / limits.wider * math.sqrt(math.ceil(limits.better * len(pairs)))
    return ahead - apart.by <= limits.luck * spread


@computed_once
def shared_points(tables: Tables, one: str, other: str) -> tuple[tuple[Setting, Setting], ...]:
    """The settings of two arms that are equal but for what makes the arms."""
    keys = [tables.setting_keys(arm) for arm in (one, other)]
    names = [[key for key in each or () if key not in tables.scientific] for each in keys]
    if not names[0] or names[0] != names[1]:
        return ()
    point = _points(tables, tuple(names[0]))
    there = {point[each.trial]: each for each in trained_settings(tables, other)}
    found = [(each, there.get(point[each.trial])) for each in trained_settings(tables, one)]
    return tuple((each, pair) for each, pair in found if pair is not None)


@computed_once
def _points(tables: Tables, keys: tuple[str, ...]) -> dict[int, str]:
    """The values of these hyperparameters, by trial."""
    return {trial: show(list(row)) for trial, *row in tables.trials.select("trial", *keys).iter_rows()}


def _of_surfaces(tables: Tables, one: str, other: str, limits: Thresholds) -> Difference | None:
    if len(tables.arms) > MOST_SURFACES:
        return None
    low = [lowest(tables, arm) for arm in (one, other)]
    if low[0] is None or low[1] is None:
        return None
    (first, error), (second, other_error) = low[0], low[1]
    se = limits.rougher * float(np.hypot(error, other_error))
    return Difference(second - first, se, noise_of(tables).degrees, "surface") if se > 0 else None


@computed_once
def lowest(tables: Tables, arm: str) -> tuple[float, float] | None:
    """How low an arm's surface goes, and its standard error."""
    noise = noise_of(tables)
    sd = noise.relative if is_relative(tables) else noise.of_one
    if sd is None:
        return None
    fit = surface_of(tables, arm, sd)
    tried = trained_settings(tables, arm)
    places = places_of(tables, arm, [each.trial for each in tried[:CANDIDATES]])
    if fit is None or not 0 < places.shape[1] <= SMOOTH_IN:
        return None
    rng = np.random.default_rng(0)
    mean, covariance = fit.at(np.concatenate([places, rng.random((CANDIDATES, places.shape[1]))]))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    found = (mean + rng.standard_normal((DRAWS, len(mean))) @ root.T).min(axis=1)
    return float(found.mean()), float(found.std(ddof=1))


def _of_halves(
    tables: Tables, ones: Sequence[Setting], others: Sequence[Setting], limits: Thresholds
) -> Difference | None:
    """Of the means of the better halves, with winsorized variances."""
    samples, squares, counts = [], [], []
    for each in (ones, others):
        if len(each) < limits.fewest_settings:
            return None
        values = np.sort(_values(tables, np.array([setting.loss for setting in each])))
        half = -(-len(values) // 2)
        winsorized = np.minimum(values, values[half - 1])
        samples.append(values[:half])
        squares.append(float(((winsorized - winsorized.mean()) ** 2).sum() / (half * (half - 1))))
        counts.append(half)
    found = _welch(samples, squares, counts)
    return None if found is None else Difference(found.by, found.se, found.degrees, "halves")


def _values(tables: Tables, losses: Values) -> Values:
    """The losses, or their logarithms where noise is a share of them."""
    return np.log(np.maximum(losses, np.finfo(float).tiny)) if is_relative(tables) else losses
