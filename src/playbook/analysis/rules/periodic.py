"""Does a metric come and go in a fixed rhythm? That is the sign of a bug in the pipeline (D2).

Each curve is freed from its course (a straight line, a parabola and a few exponentials, which is what learning curves
are made of) and is then held against waves of every period, alone and with their overtones, since a metric that
depends on the place in an epoch is a saw rather than a sine. The chance that mere noise has a wave as strong is that
of the largest share of the variance among as many waves (the Lomb–Scargle periodogram's false-alarm probability).

A bug of the pipeline is in all trials, so one of twenty says nothing. Trials that share the order of their data may
share their noise too: where they go up and down together they are one witness, their mean curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import beta

from playbook.analysis import metrics
from playbook.analysis.curves import pooled, rectangle
from playbook.analysis.curves.rectangle import Curves, Values, best_first, of_metric, times_noise
from playbook.analysis.finding import Finding, Severity
from playbook.analysis.tables import Tables


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    fewest: int = 16
    """Evaluations: four of each of four periods."""
    fewest_periods: int = 4
    """Over the whole curve."""
    judged: int = 20
    """The best trials of an arm: a bug of the pipeline is in all of them."""
    p_hint: float = 0.1
    """Of mere noise, for a hint."""
    p_value: float = 0.005
    """Of mere noise, for a verdict."""
    p_sure: float = 1e-7
    """Of mere noise, to be sure."""
    most: float = 0.5
    """The share of the judged trials that have a hint of one rhythm."""
    in_step: float = 0.3
    """The correlation of the trials' curves, freed from their course, from which on they are one witness."""
    same: float = 0.1
    """The share by which periods of a pipeline may differ: they are estimates."""
    octaves: float = 1.5
    """Halvings and doublings of a period that are still of one rhythm."""
    steady: float = 0.4
    """The share of a wave's size that it must have in the weaker half of the curve: a hump is no wave."""
    tones: tuple[int, ...] = (1, 2, 4)
    """How many tones a wave is made of: the fundamental, and overtones."""
    spacing: float = 0.25
    """Of the waves, in periods over the whole curve: overtones of a quarter of a period too few are still in step."""
    nearest: float = 0.75
    """Periods over the whole curve from which on a wave is another one."""
    near: float = 5.0
    """Periods over the whole curve up to which another wave is near."""
    most_correlation: float = 0.9
    """Of neighbours, assumed of the noise."""
    plunge: int = 10
    """One in so many evaluations, the first ones, is left out: what plunges there hides every wave."""
    long: int = 40
    """Evaluations from which on the exponentials of a long curve are taken out."""
    scales: tuple[float, ...] = (0.02, 0.06, 0.15, 0.4)
    """Of the exponentials of a long curve, as shares of it."""
    scales_of_short: tuple[float, ...] = (0.1, 0.3)
    """Of a short one."""


@dataclass(frozen=True)
class Waves:
    """The strongest wave in each of some curves: period in evaluations, amplitude in noises, how sure.

    `steadiness` is the wave's size in the weaker half of the curve as a share of that in all of it.
    """

    p_value: Values
    period: Values
    in_noise: Values
    steadiness: Values


def strongest_waves(values: Values, limits: Thresholds = Thresholds()) -> Waves:
    """The strongest wave of each row of `values` (rows, evaluations at equal distances), without NaN."""
    rest, course = without_course(values, limits)
    count = rest.shape[1]
    cycles = np.arange(limits.fewest_periods, (count - 1) / 2, limits.spacing)
    cosines, sines = _waves(cycles, course)
    p_value, period, best_fit = np.ones(len(values)), np.full(len(values), np.nan), np.zeros_like(rest)
    for tones in limits.tones:
        fit, top, num_tones = _fit(rest, tones, cycles, cosines, sines, limits)
        freedom = count - course.shape[1] - 2 * num_tones
        odds = _odds(rest, fit, cycles, top, cosines, sines, limits)
        single = beta.sf(odds / (1 + odds), num_tones, np.maximum(freedom, 1) / 2)
        tried = len(cycles) * len(limits.tones) / 2  # neighbours are so near that half of the waves are others
        p = np.where(freedom > 0, np.minimum(1.0, single * tried), 1.0)
        better = p < p_value
        p_value, period = np.where(better, p, p_value), np.where(better, count / cycles[top], period)
        best_fit[better] = fit[better]
    spread = np.sqrt(((rest - best_fit) ** 2).sum(axis=1) / max(count - course.shape[1] - 2, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        in_noise = np.sqrt(2 * (best_fit**2).sum(axis=1) / count) / spread
    return Waves(p_value, period, in_noise, _steadiness(rest, best_fit))


def without_course(values: Values, limits: Thresholds = Thresholds()) -> tuple[Values, Values]:
    """(rows, count): what is left of the curves, but for their first tenth, without their course; and its basis."""
    values = values[:, math.ceil(values.shape[1] / limits.plunge) :]
    course = _course(values.shape[1], limits)
    return values - (values @ course) @ course.T, course


def numbers(tables: Tables, metric: str, limits: Thresholds = Thresholds()) -> pl.DataFrame:
    """A row a trial, of the best of each arm: `p_value` (that there is no wave), `period` in evaluations and
    `period_steps`, `in_noise` (its amplitude), `periodic` (beyond noise, in both halves of the curve), a
    `hint` of it that others share, and `surely`."""
    curves = of_metric(tables, metric, rectangle.Thresholds(fewest=limits.fewest), best=limits.judged)
    found = {name: np.full(len(curves), np.nan) for name in ("p_value", "period", "in_noise", "steadiness")}
    for length in np.unique(curves.lengths):
        rows = curves.lengths == length
        waves = strongest_waves(curves.values[rows, :length], limits)
        for name, column in found.items():
            column[rows] = getattr(waves, name)
    every = (curves.last_steps - curves.steps[:, 0]) / (curves.lengths - 1) if len(curves) else np.zeros(0)
    table = pl.DataFrame({"trial": curves.trials, **found}).with_columns(
        period_steps=pl.col("period") * pl.Series(every)
    )
    steady = pl.col("steadiness") > limits.steady
    hint = steady & (pl.col("p_value") < limits.p_hint)
    shared = pl.col("period_steps").filter(hint).median()  # a pipeline has one rhythm, in all of its trials
    octaves = (pl.col("period_steps") / shared).log(2)  # a saw, or a spike, may be heard as an overtone
    one_rhythm = ((octaves - octaves.round()).abs() < np.log2(1 + limits.same)) & (octaves.abs() < limits.octaves)
    return table.with_columns(
        (hint & one_rhythm).fill_null(False).alias("hint"),
        (steady & (pl.col("p_value") < limits.p_value)).alias("periodic"),
        (steady & (pl.col("p_value") < limits.p_sure)).alias("surely"),
    )


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm: about the first of its metrics whose best trials have a rhythm."""
    found: dict[str, Finding] = {}
    for metric in metrics.main_metrics(tables):
        curves = of_metric(tables, metric, rectangle.Thresholds(fewest=limits.fewest), best=limits.judged)
        for arm, rows in best_first(tables, numbers(tables, metric, limits)):
            if arm not in found:
                mine = curves.only(np.isin(curves.trials, rows["trial"].to_numpy()))
                finding = _in_step(arm, rows, mine, metric, limits) or _of_each(arm, rows, metric, limits)
                if finding is not None:
                    found[arm] = finding
    return [found[arm] for arm in tables.arms if arm in found]


LOOK_FOR = (
    "Unless the learning rate has it too, look for a bug: data that is not shuffled, a state that is reset every epoch,"
    " or evaluations that see different examples."
)


def _of_each(arm: str, rows: pl.DataFrame, metric: str, limits: Thresholds) -> Finding | None:
    """Where most trials have one rhythm, each for itself; of fewer than three trials all must surely have one."""
    few = len(rows) < pooled.Thresholds.fewest
    having = rows.filter("surely" if few else "hint")
    if len(having) < (len(rows) if few else max(limits.most * len(rows), pooled.Thresholds.fewest)):
        return None
    one = having.row(0, named=True)
    message = (
        f"In {len(having)} of the {len(rows)} best trials {metric} comes and goes every {one['period_steps']:.4g} steps"
        f" ({one['period']:.3g} evaluations; trial {one['trial']}: by {times_noise(one['in_noise'])}). {LOOK_FOR}"
    )
    evidence = {
        "judged": len(rows),
        "periodic": len(having),
        "metric": metric,
        "in_step": False,
        "trials": having.head(rectangle.Thresholds.best).to_dicts(),
    }
    severity: Severity = "problem" if one["surely"] else "advice"
    return Finding("periodic_metric", severity, "D2", message, arm, None, tuple(having["trial"].to_list()), evidence)


def _in_step(arm: str, rows: pl.DataFrame, curves: Curves, metric: str, limits: Thresholds) -> Finding | None:
    """Where the trials go up and down together, in a rhythm: their mean curve is the witness."""
    mean = _common(curves, limits)
    if mean is None:
        return None
    waves = strongest_waves(mean[None, :], limits)
    p_value, period = float(waves.p_value[0]), float(waves.period[0])
    if p_value >= limits.p_value or not waves.steadiness[0] > limits.steady:
        return None
    steps = period * float((curves.last_steps[0] - curves.steps[0, 0]) / (curves.lengths[0] - 1))
    trials = tuple(rows["trial"].to_list())
    message = (
        f"{metric} comes and goes every {steps:.4g} steps ({period:.3g} evaluations) in all {len(trials)} best trials"
        " together, so it comes from what they share: the order of the data, or the examples of an evaluation."
        f" {LOOK_FOR}"
    )
    evidence = {
        "judged": len(rows),
        "periodic": len(rows),
        "metric": metric,
        "in_step": True,
        "trials": [
            {"trial": trial, "period": period, "period_steps": steps, "p_value": p_value}
            for trial in trials[: rectangle.Thresholds.best]
        ],
    }
    severity: Severity = "problem" if p_value < limits.p_sure else "advice"
    return Finding("periodic_metric", severity, "D2", message, arm, None, trials, evidence)


def _common(curves: Curves, limits: Thresholds) -> Values | None:
    """(evaluations,): the mean of curves of one scale each, where they go up and down together; else None."""
    if len(curves) < pooled.Thresholds.fewest or len(np.unique(curves.lengths)) > 1:
        return None
    values = curves.values[:, : curves.lengths[0]]
    if not np.all(curves.steps[:, : curves.lengths[0]] == curves.steps[0, : curves.lengths[0]]):
        return None
    rest, _ = without_course(values, limits)
    spread = rest.std(axis=1)
    if not (spread > 0).all():
        return None
    together = float((rest / spread[:, None]).mean(axis=0).var())
    correlation = (len(rest) * together - 1) / (len(rest) - 1)
    return np.asarray((values / spread[:, None]).mean(axis=0)) if correlation > limits.in_step else None


def _course(count: int, limits: Thresholds) -> Values:
    """(count, terms): an orthonormal basis of smooth learning curves."""
    x = np.arange(1, count + 1) / count
    scales = limits.scales if count >= limits.long else limits.scales_of_short
    terms = np.stack([np.ones(count), x, x**2, *(np.exp(-x / scale) for scale in scales)], axis=1)
    return np.linalg.qr(terms)[0]


def _waves(cycles: Values, course: Values) -> tuple[Values, Values]:
    """(count, waves) twice: for each wave an orthonormal pair that is orthogonal to `course` too."""
    count = len(course)
    angles = 2 * np.pi * np.arange(count)[:, None] / count * cycles[None, :]
    pair: list[Values] = []
    for wave in (np.cos(angles), np.sin(angles)):
        wave -= course @ (course.T @ wave)
        for other in pair:
            wave -= other * (other * wave).sum(axis=0)
        pair.append(wave / np.linalg.norm(wave, axis=0))
    return pair[0], pair[1]


def _fit(
    rest: Values, tones: int, cycles: Values, cosines: Values, sines: Values, limits: Thresholds
) -> tuple[Values, NDArray[np.int64], NDArray[np.int64]]:
    """The strongest wave of so many tones in each row: (rows, count), its place in `cycles`, how many tones it has.

    Tones beyond the highest wave are not heard; of those with overtones a wave has at least one.
    """
    a, b = rest @ cosines, rest @ sines
    power = a**2 + b**2
    waves = cycles * np.arange(1, tones + 1)[:, None]
    place = np.rint((waves - limits.fewest_periods) / limits.spacing).astype(np.int64)
    heard = place < len(cycles)
    place = np.minimum(place, len(cycles) - 1)
    together = np.sum(np.where(heard, power[:, place], 0.0), axis=1)
    top = np.argmax(np.where(heard[min(tones, 2) - 1], together, -1.0), axis=1)
    fit, rows = np.zeros_like(rest), np.arange(len(rest))
    for each in range(tones):
        at = place[each][top]
        tone = a[rows, at][:, None] * cosines[:, at].T + b[rows, at][:, None] * sines[:, at].T
        fit += heard[each][top][:, None] * tone
    return fit, top, heard.sum(axis=0)[top]


def _odds(
    rest: Values,
    fit: Values,
    cycles: Values,
    top: NDArray[np.int64],
    cosines: Values,
    sines: Values,
    limits: Thresholds,
) -> Values:
    """(rows,): the wave's share of the variance over what is left, as if the noise that is left were white.

    Noise that hangs together has more power at long periods: as much more as the waves near the strongest one have,
    or as noise of its first autocorrelation r would, (1 − r²)/(1 − 2r·cos(2πf) + r²), whichever is more.
    """
    left = rest - fit
    total, count = (left**2).sum(axis=1), rest.shape[1]
    power = (left @ cosines) ** 2 + (left @ sines) ** 2
    away = np.abs(cycles[None, :] - cycles[top][:, None])
    near = (away >= limits.nearest) & (away <= limits.near)
    with np.errstate(invalid="ignore", divide="ignore"):
        nearby = np.where(near, power, 0.0).sum(axis=1) / near.sum(axis=1) / (2 * total / count)
        r = (left[:, 1:] * left[:, :-1]).sum(axis=1) / total + 1 / count
        r = np.clip(np.where(np.isnan(r), 0.0, r), 0.0, limits.most_correlation)
        markov = (1 - r**2) / (1 - 2 * r * np.cos(2 * np.pi * cycles[top] / count) + r**2)
        colour = np.fmax(np.fmax(nearby, markov), 1.0)
        odds = (fit**2).sum(axis=1) / np.maximum(total, 1e-9 * (rest**2).sum(axis=1)) / colour
    return np.where(np.isnan(odds), 0.0, odds)


def _steadiness(rest: Values, fit: Values) -> Values:
    half = rest.shape[1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        early, late = (
            (rest[:, part] * fit[:, part]).sum(axis=1) / (fit[:, part] ** 2).sum(axis=1)
            for part in (slice(0, half), slice(half, None))
        )
    steady = np.minimum(early, late)
    return np.where(np.isnan(steady), 0.0, steady)
