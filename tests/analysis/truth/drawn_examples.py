"""Studies drawn example by example: margins that drift slowly from evaluation to evaluation, with heavy tails.

A trial misses the examples whose margin is below 0. An example is as hard for one trial as for another, but for what
is the trial's own; and a margin is at the next evaluation nearly what it was, since the weights are. No rule assumes
any of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.signal import lfilter

from playbook.analysis.examples import Examples
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import ONLY_ARM, Objective
from playbook.study.space import Float

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Scenario:
    """What the trials of a study have in common; times are shares of the run."""

    examples: int
    trials: int = 16
    evaluations: int = 20
    correlation: float = 0.97
    """Of an example's margin with that at the next evaluation."""
    learnt_by: float = 0.06
    """Share of the steps in which the margins go most of their way; of some trials up to four times as slowly."""
    overfits: float = 0.0
    """Standard errors, of the difference between two evaluations, that the error rises by after it was lowest."""
    gains_late: float = 0.0
    """Of what was gained until then, gained between 0.4 of the steps and the end."""
    in_common: float = 0.0
    """Of the drift's variance, what all trials share."""
    losses: bool = False
    """The objective is a loss of the margin rather than an error."""


def study(rng: np.random.Generator, scenario: Scenario, *, recorded: bool = True) -> Tables:
    """A study of the scenario, with or without what each example had to say."""
    s, n = scenario, scenario.examples
    x = np.arange(s.evaluations) / (s.evaluations - 1)
    hard = 2.0 + rng.standard_t(4, n) + rng.uniform(-0.5, 0.5)
    spread = rng.uniform(0.3, 1.2)
    shared = _drift(rng, s, n)
    quality = np.sort(rng.exponential(0.15, s.trials))  # worse and worse
    margins = []
    for number in range(s.trials):
        own = np.sqrt(1 - s.in_common) * _drift(rng, s, n) + np.sqrt(s.in_common) * shared
        course = -4 * np.exp(-x / (s.learnt_by * rng.uniform(0.5, 2) / 1.5))
        margin = hard + 0.5 * rng.standard_t(4, n) - quality[number] + spread * own + course[:, None]
        margins.append(margin)
    if s.overfits:
        turn = rng.uniform(0.3, 0.6)
        lower = _margin_of_rise(margins, int(turn * s.evaluations), s.overfits)
        for number in range(s.trials):
            begins = float(np.clip(turn + rng.uniform(-0.1, 0.1), 0.25, 0.7))
            margins[number] -= (lower * np.clip((x - begins) / (1 - begins), 0, 1))[:, None]
    values = [np.logaddexp(0, -margin) if s.losses else (margin < 0).astype(np.float64) for margin in margins]
    return _tables(rng, values, "val/loss" if s.losses else "val/error", recorded)


def _drift(rng: np.random.Generator, s: Scenario, n: int) -> Values:
    """(evaluations, examples): a stationary series of each example, of variance 1."""
    burn_in = round(4 / (1 - s.correlation))
    steps = rng.standard_t(5, (s.evaluations, n)) * np.sqrt(3 / 5) * np.sqrt(1 - s.correlation**2)
    start = rng.standard_t(5, n) * np.sqrt(3 / 5) if burn_in else np.zeros(n)
    series, _ = lfilter([1.0], [1.0, -s.correlation], steps, axis=0, zi=(s.correlation * start)[None, :])
    return np.asarray(series)


def _margin_of_rise(margins: list[Values], turn: int, errors: float) -> float:
    """How much lower all margins must be at the end for a rise of so many standard errors of the difference."""
    differing = np.mean([np.mean((each[turn] < 0) != (each[-1] < 0)) for each in margins])
    n = margins[0].shape[1]
    more = errors * np.sqrt(max(float(differing), 1 / n) / n)  # of the examples are missed beside
    ends = np.concatenate([each[-1] for each in margins])
    right = np.sort(ends[ends >= 0])
    return float(right[min(round(more * len(ends)), len(right) - 1)])


def _tables(rng: np.random.Generator, values: list[Values], metric: str, recorded: bool) -> Tables:
    steps = np.arange(len(values[0]), dtype=np.int64) * 100
    curves = np.stack([each.mean(axis=1) for each in values])
    trials = pl.DataFrame(
        {
            "trial": range(len(values)),
            "arm": ONLY_ARM,
            "status": "complete",
            "objective": curves.min(axis=1),
            "best_step": steps[curves.argmin(axis=1)],
            "final_objective": curves[:, -1],
            "seed": 0,
            "lr": 10 ** rng.uniform(-4, -1, len(values)),
        },
        schema_overrides={"trial": pl.Int64(), "best_step": pl.Int64()},
    )
    table = pl.DataFrame(
        {
            "trial": np.repeat(np.arange(len(values)), len(steps)),
            "step": np.tile(steps, len(values)),
            "metric": metric,
            "value": curves.ravel(),
        }
    ).cast(dict(CURVE_COLUMNS))
    examples = {k: Examples(steps, each.astype(np.float32)) for k, each in enumerate(values)} if recorded else {}
    return Tables(
        trials,
        Objective(metric, "min"),
        table,
        examples=examples,
        space={ONLY_ARM: {"lr": Float(1e-4, 1e-1, "log")}},
        max_steps=int(steps[-1]),
    )
