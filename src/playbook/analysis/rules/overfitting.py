"""Does validation get worse while training gets better? (B8)

The better trials of an arm are judged together, over the stretch after the others of them were best
(`curves/pooled.py`), example by example where that was recorded (`curves/paired.py`). Where training gets worse there
too they are unstable rather than overfitted, which `train_loss_rising` says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from playbook.analysis import metrics
from playbook.analysis.curves import paired, pooled
from playbook.analysis.curves.counted import one_example
from playbook.analysis.curves.noise import trend
from playbook.analysis.curves.pooled import Group, Pooled
from playbook.analysis.curves.rectangle import Curves, Values, condensed, of_metric
from playbook.analysis.curves.rises import Thresholds as RiseThresholds
from playbook.analysis.curves.rises import rises
from playbook.analysis.finding import Finding, Remedy, Severity
from playbook.analysis.remedies import round_up, widened
from playbook.analysis.tables import Tables
from playbook.study.space import Dimension, Float

Training = Literal["falls", "flat", "rises", "unknown"]


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    p_value: float = 0.01
    """Of no rise, for a verdict. Trials that choose for one another are not quite independent: of studies that do not
    overfit twice as many are below it."""
    p_paired: float = 0.02
    """The same where examples were compared one by one: there half as many are."""
    p_sure: float = 1e-3
    """For a problem."""
    fewest_examples: int = 5
    """Validation examples of difference, of the mean trial: k of them that all say the same have a chance of 2⁻ᵏ."""
    in_noise: float = 1.0
    """Noises of one evaluation that the rise must have: less is nobody's problem."""
    share: float = 0.003
    """Of what was learnt, the same: a curve that has come to rest has no noise to speak of."""
    p_training: float = 0.05
    """Of the change of the training loss over the same stretch."""
    rises: RiseThresholds = field(default_factory=RiseThresholds)
    """When a single trial that is not among the better ones rises."""
    p_other: float = 0.01
    """That any of those rises as far by the noise of the better ones."""
    significant: float = 1.645
    """Standard deviations of the training loss's trend in one trial: one in twenty without one."""
    shown: int = 10
    """Trials that overfit beside better ones that do not, which are shown."""


WEIGHT_DECAY = "optimizer.weight_decay"
FIRST_SEARCH = Float(1e-5, 1e-1, "log")
"""Of weight decay, where it was not searched."""
REGULARISERS = ("weight_decay", "dropout", "label_smoothing", "augment", "mixup", "regular")


@dataclass(frozen=True)
class Rise:
    """Of some trials (trials,) after their best stretch, which the others of them choose: lower is better.

    `rises` is the end above it, `low_steps` where it begins, `low` and `last` the levels. `pooled` is the mean rise
    with its error: of the curves, or of `examples` examples one by one (0: of the curves). `matters` is whether it is
    large enough to be of interest, in noises and in examples.
    """

    trials: NDArray[np.int64]
    rises: Values
    low_steps: Values
    low: Values
    last: Values
    in_noise: float
    pooled: Pooled
    examples: int
    matters: bool


def rise_of(tables: Tables, curves: Curves, trials: NDArray[np.int64], limits: Thresholds = Thresholds()) -> Rise:
    """How far the end of some trials, at least two, is above their best stretch."""
    shares, values = pooled.in_step(curves, trials)
    wide = pooled.width(len(shares))
    means = pooled.stretches(values, wide)
    low, rows = pooled.lowest_of_the_others(means), np.arange(len(trials))
    above = means[:, -1] - means[rows, low]
    mine = curves.only(np.isin(curves.trials, trials))
    spread = pooled.typical_noise(mine)
    over = pooled.over_trials(above, spread * np.sqrt(2 / wide))
    least = max(limits.in_noise * spread, limits.share * float(np.median(mine.plunge)))
    of_examples, one, examples = None, one_example(tables, mine), 0
    if one:
        of_examples = float(above.mean()) / one
    matters = over.mean > least
    if recorded := paired.comparable([tables.examples.get(int(trial)) for trial in trials]):
        found = paired.paired_rise(recorded)
        over, examples, of_examples = found.pooled, found.examples, found.of_examples
    matters = matters and (of_examples is None or of_examples >= limits.fewest_examples)
    last_steps = mine.last_steps[np.searchsorted(mine.trials, trials)]
    in_noise = float(above.mean()) / spread if spread > 0 else math.inf
    return Rise(
        trials,
        above,
        shares[low + wide // 2] * last_steps,
        means[rows, low],
        means[:, -1],
        in_noise,
        over,
        examples,
        matters,
    )


def training_of(tables: Tables, rise: Rise, limits: Thresholds = Thresholds()) -> Training:
    """What the training loss of the same trials does over the same stretch."""
    metric = metrics.training_metric(tables)
    if metric is None:
        return "unknown"
    curves = of_metric(tables, metric)
    here = np.isin(rise.trials, curves.trials[~curves.broken])
    if here.sum() < 2:
        return "rises" if np.isin(rise.trials, curves.trials[curves.broken]).any() else "unknown"
    shares, values = pooled.in_step(curves, rise.trials[here])
    wide = pooled.width(len(shares))
    means = pooled.stretches(values, wide)
    mine = curves.only(np.isin(curves.trials, rise.trials[here]))
    last_steps = mine.last_steps[np.searchsorted(mine.trials, rise.trials[here])]
    begin = np.minimum(np.searchsorted(shares, rise.low_steps[here] / last_steps), len(shares) - 1)
    begin = np.minimum(np.maximum(begin - wide // 2, 0), means.shape[1] - 1)
    change = pooled.over_trials(means[:, -1] - means[np.arange(len(means)), begin])
    if change.p_above < limits.p_training:
        return "rises"
    return "falls" if change.p_below < limits.p_training else "flat"


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """One finding an arm: about its better trials, else about others that overfit without doubt."""
    if not len(tables.curves) or metrics.is_training(tables.objective.metric):
        return []
    curves, groups = pooled.of_objective(tables)
    return [found for group in groups if (found := _of_group(tables, group, curves, limits))]


def _of_group(tables: Tables, group: Group, curves: Curves, limits: Thresholds) -> Finding | None:
    arm, asked = group.arm, group.asked
    rise = rise_of(tables, curves, asked, limits)
    training = training_of(tables, rise, limits)
    p_value = rise.pooled.p_above
    least_p = limits.p_paired if rise.examples else limits.p_value
    if not rise.matters or p_value >= least_p or training == "rises":
        return _of_others(tables, group, curves, limits)
    sign, lowest = tables.sign, float(np.median(rise.low_steps))
    evidence: dict[str, Any] = {
        "judged": group.judged,
        "p_value": p_value,
        "rise": rise.pooled.mean,
        "rise_interval": rise.pooled.interval(),
        "rise_in_noise": rise.in_noise,
        "examples": rise.examples,
        "training": training,
        "trials": [
            {"trial": int(trial), "best_step": round(step), "best": sign * low, "last": sign * last, "rise": last - low}
            for trial, step, low, last in zip(
                rise.trials, rise.low_steps.tolist(), rise.low.tolist(), rise.last.tolist(), strict=True
            )
        ],
    }
    course = {
        "falls": ", while training goes on getting better",
        "flat": ", while training stays as good",
        "unknown": " (there is no training curve beside it)",
    }[training]
    judged = f", judged on {rise.examples} examples one by one" if rise.examples else ""
    message = (
        f"The {len(asked)} best trials overfit: on average {tables.objective.metric} goes from"
        f" {sign * rise.low.mean():.4g} around step {lowest:.0f} to {sign * rise.last.mean():.4g} at the end{course}."
        f" Chance makes that of their noise once in {_once_in(p_value)} studies{judged}."
    )
    severity: Severity = "problem" if p_value < limits.p_sure and training == "falls" else "advice"
    numbers = tuple(int(trial) for trial in asked)
    if question := [key for key in tables.scientific if _is_regulariser(key)]:
        message += (
            f" How much to regularise ({', '.join(question)}) is the question here, so that weak settings of it may"
            " overfit: compare them as they are."
        )
        return Finding("overfitting", "info", "B8", message, arm, None, numbers, evidence)
    remedies = (_more_weight_decay(tables, arm),)
    return Finding(
        "overfitting", severity, "B8", f"{message} {_advice(tables, arm)}", arm, None, numbers, evidence, remedies
    )


def _of_others(tables: Tables, group: Group, curves: Curves, limits: Thresholds) -> Finding | None:
    """Trials beside the better ones that rise by far more than the noise of those explains, while training falls."""
    trials, asked = group.trials, group.asked
    mine = curves.only(np.isin(curves.trials, trials))
    found = rises(mine, limits.rises)
    above, other = found.last - found.low, ~np.isin(mine.trials, asked)
    if not other.any():
        return None
    reference = above[~other]
    far = student.isf(limits.p_other / other.sum(), len(reference) - 1) * np.sqrt(1 + 1 / len(reference))
    least = limits.fewest_examples * one_example(tables, mine)
    sure = other & found.surely & (above > reference.mean() + far * reference.std(ddof=1)) & (above >= least)
    falls = _training_falls(tables, mine.trials[sure], found.low_step[sure], limits)
    sure &= np.isin(mine.trials, falls)
    if not sure.any():
        return None
    shown = [int(trial) for trial in trials if trial in set(mine.trials[sure].tolist())][: limits.shown]
    place = {int(trial): row for row, trial in enumerate(mine.trials)}
    evidence = {
        "judged": group.judged,
        "surely_overfitting": int(sure.sum()),
        "trials": [
            {
                "trial": trial,
                "best_step": round(float(found.low_step[row])),
                "best": tables.sign * float(found.low[row]),
                "last": tables.sign * float(found.last[row]),
                "rise": float(above[row]),
            }
            for trial, row in ((each, place[each]) for each in shown)
        ],
    }
    message = (
        f"{sure.sum()} of {len(trials)} trials overfit without doubt; the {len(asked)} best (trial {trials[0]} first)"
        " do not, as far as can be told."
    )
    return Finding("overfitting", "info", "B8", message, group.arm, None, tuple(shown), evidence)


def _training_falls(tables: Tables, trials: NDArray[np.int64], since: Values, limits: Thresholds) -> NDArray[np.int64]:
    """Those of the trials whose training loss falls after `since` (a step a trial), each by itself."""
    metric = metrics.training_metric(tables)
    if metric is None or not len(trials):
        return trials[:0]
    curves = of_metric(tables, metric)
    curves = curves.only(np.isin(curves.trials, trials) & ~curves.broken)
    points = condensed(curves)
    begin = since[np.searchsorted(trials, curves.trials)]
    after = (points.steps >= begin[:, None]) & (points.columns < points.lengths[:, None])
    falls = (trend(points.values, after) < -limits.significant) & ~rises(curves, limits.rises).hint
    return np.asarray(curves.trials[falls])


def _once_in(p_value: float) -> str:
    """100 for .0099: how many studies there are to one such."""
    return f"{round_up(min(1 / max(p_value, 1e-12), 1e6)):,}" if p_value > 1e-6 else "a million"


def _is_regulariser(key: str) -> bool:
    return any(word in key for word in REGULARISERS)


def _more_weight_decay(tables: Tables, arm: str | None) -> Remedy:
    """The study with weight decay searched, and farther up where it was already."""
    searched = _space(tables, arm).get(WEIGHT_DECAY)
    farther = None if searched is None else widened(searched, "upper")
    return Remedy({WEIGHT_DECAY: farther or FIRST_SEARCH})


def _space(tables: Tables, arm: str | None) -> dict[str, Dimension]:
    """What varies in the arm, or in any."""
    arms = tables.arms if arm is None else (arm,)
    return {key: each for name in arms for key, each in tables.space.get(name, {}).items()}


def _advice(tables: Tables, arm: str | None) -> str:
    searched = [key for key in _space(tables, arm) if _is_regulariser(key)]
    if searched:
        return f"Search {' and '.join(searched)} farther up, or add another regulariser, before comparing arms."
    return "Regularise (weight decay, dropout, label smoothing, augmentation) and tune that before comparing arms."
