"""Synthetic training curves with and without the faults that the analysis looks for.

A drawn study has one arm of six trials, all of one kind. Their curves have what real ones have: a power law or an
exponential towards a level, noise that hangs together a little, has wide tails and is larger early, any scale, either
direction, 10 to 400 evaluations; some are counted on few examples, have holes or a single monstrous value. A fault is
2 to 10 times the noise of one evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.signal import lfilter

from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import ONLY_ARM, Objective

Values = NDArray[np.float64]
TRIALS = 6


@dataclass(frozen=True)
class Setting:
    """What the trials of a study share. Lengths are in units of what training gains, `x` is the share that is over."""

    rng: np.random.Generator
    x: Values
    noise: float
    fault: float
    """Noise times 2 to 10."""
    period: float
    """In evaluations, of what is periodic: it is the pipeline's, and all trials have it."""

    @property
    def count(self) -> int:
        return len(self.x)

    def fall(self, done: float) -> Values:
        """From 1 to 0; a third of the noise is left at `done`, and nothing of it at the end."""
        if self.rng.random() < 0.5:
            return np.exp(-self.x / done * np.log(3 / self.noise))
        power = self.rng.uniform(1, 2)  # (1 + x/t)^-power, with t such that it is there at `done`
        start = done / ((3 / self.noise) ** (1 / power) - 1)
        curve = (1 + self.x / start) ** -power
        return (curve - curve[-1]) / (curve[0] - curve[-1])

    def jitter(self, scale: float = 1.0) -> Values:
        """The noise of each evaluation: a little correlated, twice as large at the very start."""
        correlation = self.rng.uniform(0, 0.4)
        white = self.rng.standard_t(8, self.count + 30) * np.sqrt(6 / 8)
        noise = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], white)[30:]
        return scale * self.noise * noise * (1 + np.exp(-self.x / 0.05))

    def after(self, begin: float, shape: float = 1.0) -> Values:
        """0 until `begin`, then up to 1 at the end."""
        return np.clip((self.x - begin) / (1 - begin), 0, 1) ** shape


Pair = tuple[Values, Values]
"""The validation metric and the training loss of a trial, lower is better."""


def settles(s: Setting) -> Pair:
    """Nothing to complain of: gains until past the middle, between 0.4 and 0.62 the fault's size, then stays."""
    rest = s.fault * np.clip((0.62 - s.x) / 0.22, 0, 1.5)
    return s.fall(0.4) + rest + s.jitter(), s.fall(s.rng.uniform(0.6, 1)) + s.jitter(s.rng.uniform(0.2, 1))


def overfits(s: Setting) -> Pair:
    """Validation rises by the fault from somewhere in the first half on, training goes on falling."""
    turn = s.rng.uniform(0.15, 0.5)
    rise = s.fault * s.after(turn, s.rng.uniform(0.5, 1.2))
    return s.fall(turn) + rise + s.jitter(), s.fall(s.rng.uniform(0.6, 1.5)) + s.jitter(0.3)


def improves(s: Setting) -> Pair:
    """The last third gains the fault."""
    rest = 3 * s.fault * (1 - s.x) if s.rng.random() < 0.5 else 1.8 * s.fault * (1 - s.x**2)
    return s.fall(0.5) + rest + s.jitter(), s.fall(1) + rest + s.jitter(0.5)


def saturates(s: Setting) -> Pair:
    """All is gained in the first quarter."""
    done = s.rng.uniform(0.1, 0.25)
    return s.fall(done) + s.jitter(), s.fall(s.rng.uniform(0.1, 0.6)) + s.jitter(0.5)


def perfect(s: Setting) -> Pair:
    """As `saturates`, and the level is 0: no error is left to count."""
    done = s.rng.uniform(0.1, 0.25)
    return np.maximum(s.fall(done) * (1 + s.jitter()) - 2 * s.noise, 0), s.fall(s.rng.uniform(0.1, 0.6)) + s.jitter(0.5)


def rises(s: Setting) -> Pair:
    """The training loss goes up to the end, and validation with it."""
    turn = s.rng.uniform(0.15, 0.5)
    shape = s.after(turn, s.rng.uniform(0.5, 1.2))
    return s.fall(turn) + 1.5 * s.fault * shape + s.jitter(), s.fall(turn) + s.fault * shape + s.jitter()


def rises_and_recovers(s: Setting) -> Pair:
    """The training loss goes up for a fifth of training, by at least 4 noises, and comes back."""
    middle, width = s.rng.uniform(0.4, 0.7), s.rng.uniform(0.15, 0.25)
    hump = (4 + 0.75 * (s.fault / s.noise - 2)) * s.noise * (np.abs(s.x - middle) < width / 2)
    return s.fall(0.5) + 0.5 * hump + s.jitter(), s.fall(0.3) + hump + s.jitter()


def periodic(s: Setting) -> Pair:
    """A wave as high as the fault: a sine, a saw, or a spike every so often."""
    phase = (np.arange(s.count) / s.period + s.rng.random()) % 1
    wave = [np.sin(2 * np.pi * phase), 2 * phase - 1, 2.0 * (phase < 1 / max(3, s.period))][s.rng.integers(3)]
    return s.fall(0.5) + s.fault * wave + s.jitter(), s.fall(0.6) + s.jitter(0.5)


def noisy_late(s: Setting) -> Pair:
    """The second half is noisier by the fault."""
    louder = np.where(s.x > s.rng.uniform(0.5, 0.6), s.fault / s.noise, 1.0)
    return s.fall(0.5) + louder * s.jitter(), s.fall(0.6) + s.jitter(0.5)


def noisy(s: Setting) -> Pair:
    """As `settles`: it is the trials that are closer together than the noise."""
    return settles(s)


KINDS: dict[str, Callable[[Setting], Pair]] = {
    each.__name__: each
    for each in (
        settles,
        overfits,
        improves,
        saturates,
        perfect,
        rises,
        rises_and_recovers,
        periodic,
        noisy_late,
        noisy,
    )
}
FAULTS = {
    "overfits": "overfitting",
    "improves": "still_improving",
    "saturates": "saturated",
    "perfect": "saturated",
    "rises": "train_loss_rising",
    "rises_and_recovers": "train_loss_rising",
    "periodic": "periodic_metric",
    "noisy_late": "late_variance",
    "noisy": "late_variance",
}
"""The finding that each faulty kind deserves."""
UNCLEAR = {
    "overfits": {"saturated", "best_step_early"},  # what is best early and worse later was also trained too long
    "improves": {"best_step_late"},
    "rises": {"saturated"},
    "rises_and_recovers": {"overfitting", "saturated", "still_improving"},  # validation has half of the hump
    "saturates": {"best_step_early"},
    "perfect": {"best_step_early", "late_variance"},  # tied at 0
    "periodic": {"late_variance", "overfitting", "still_improving", "saturated"},  # whichever way the last wave goes
    "noisy": {"saturated"},
    "noisy_late": {"saturated"},  # what is gained after 0.4 drowns in the noise that comes
}
"""Findings that are as right as wrong there."""


def draw(kind: str, seed: int) -> Tables:
    """A study whose curves are all of one kind."""
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    fewest = 24 if kind in ("periodic", "rises_and_recovers") else 10
    count = round(np.exp(rng.uniform(np.log(fewest), np.log(400))))
    noise = 10 ** rng.uniform(-2.5, -1.3)
    period = np.random.default_rng([seed, 77]).uniform(2.5, max(count / 5, 3))
    setting = Setting(rng, np.linspace(0, 1, count), noise, noise * rng.uniform(2, 10), period)
    apart = 1 / rng.uniform(2, 10) if kind == "noisy" else rng.uniform(5, 20)  # trials, in noises
    offsets = rng.permutation(np.linspace(0, 1, TRIALS)) * apart * noise * (TRIALS - 1) / 4
    pairs = [KINDS[kind](setting) for _ in range(TRIALS)]
    curves = [(val + offset, train + offset) for (val, train), offset in zip(pairs, offsets, strict=True)]
    if kind != "perfect":
        level = rng.uniform(0, 2)
        curves = [(val + level, train + 0.1) for val, train in curves]
    return as_tables(curves, setting, rng)


def as_tables(curves: list[Pair], setting: Setting, rng: np.random.Generator) -> Tables:
    """The curves with a scale, a direction and the blemishes of real files."""
    mode = "min" if rng.random() < 0.5 else "max"
    scale, every = 10 ** rng.uniform(-3, 3), int(rng.choice([1, 10, 250]))
    # One example of a metric that counts them: a fault is at least seven, since fewer than five say nothing.
    quantum = setting.fault * rng.uniform(0.03, 0.14) if rng.random() < 0.25 else None
    blemish = rng.choice(["none", "none", "none", "holes", "monster"])
    frames, objectives = [], []
    for number, (val, train) in enumerate(curves):
        val = val if quantum is None else np.round(val / quantum) * quantum
        val = scale * (val if mode == "min" else 1 - val)
        if blemish == "holes":
            val = np.where(rng.random(len(val)) < 0.03, np.nan, val)
        if blemish == "monster":
            val[rng.integers(len(val) // 4, len(val) - 2)] = 1e17 if mode == "min" else -1e17
        step = np.arange(setting.count, dtype=np.int64) * every
        for metric, value in (("val/error", val), ("train/eval_loss", 7 * train)):
            frames.append(pl.DataFrame({"trial": number, "step": step, "metric": metric, "value": value}))
        objectives.append(float(np.nanmin(val) if mode == "min" else np.nanmax(val)))
    trials = pl.DataFrame(
        {
            "trial": range(TRIALS),
            "arm": ONLY_ARM,
            "status": "complete",
            "objective": objectives,
            "best_step": pl.Series([None] * TRIALS, dtype=pl.Int64),
            "seed": 0,
        }
    )
    table = pl.concat(frames).cast(dict(CURVE_COLUMNS))
    return Tables(trials, Objective("val/error", mode), table, max_steps=int(step[-1]))


def clear(kind: str) -> Tables:
    """A study of the kind whose curves are long."""
    return next(tables for seed in range(100, 200) if len((tables := draw(kind, seed)).curves) > 1200)


def only(found):
    assert len(found) == 1
    return found[0]
