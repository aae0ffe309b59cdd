"""How much a trial's objective owes to chance: what it would differ by if the same setting were trained again (G9).

From what is there, best first: repeats of settings (Bouthillier et al. 2021); the validation examples, of which n show
an error p to within √(p(1 − p)/n); a smooth surface through the settings, which leaves the noise; else it is unknown,
and no verdict can rest on a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from playbook.analysis.metrics import kinds
from playbook.analysis.position import positions
from playbook.analysis.regret import Values, robust
from playbook.analysis.repeats import Setting, trained_settings
from playbook.analysis.standard_error import adjusted_of_share
from playbook.analysis.surface import FEWEST, MOST, Surface, surface
from playbook.analysis.tables import Tables, computed_once
from playbook.validation import show

Source = Literal["repeats", "examples", "surface", "unknown"]


@dataclass(frozen=True)
class Thresholds:
    """What the answer depends on."""

    better: float = 0.25
    """The share of the repeated settings, best first, whose repeats count: the noise of worse ones is mostly larger."""
    fewest_degrees: int = 3
    """Of freedom: a standard deviation from fewer repeats is off by a factor of two and more."""
    enough_degrees: int = 16
    """Of freedom, to which worse settings are taken in, as far as half of them."""
    most_keys: int = 5
    """Hyperparameters of a surface, above which its nugget is unknown: of 50 to 100 settings in nine, what is rough and
    what is noise are one, and the nugget was up to five times the seeds' deviation."""
    a_decade: float = 10.0
    """The typical loss over the best one, from which on noise is counted in shares of the loss: over decades it grows
    with it (the noise of 62,208 networks is 10 to 25 % of their loss, from 0.00003 to 1)."""
    fewest_examples: int = 5
    """Of difference: k examples on which two models differ cannot have a p below 2⁻ᵏ (McNemar)."""
    widest: float = 3.5
    """The ends of the 80 % interval of a surface's nugget, as a ratio, above which it is unknown. Below it, of studies
    of 16 to 64 trials from twelve tables of real networks, the nugget was 0.6 to 1.9 times the seeds' deviation."""
    most_arms: int = 4
    """Whose surfaces are looked at, the better ones: more would not make the noise surer, and cost a fit each."""
    linear: float = 0.25
    """The share of the settings, best first, beyond which the surface is flattened: what is worse has other noise."""


@dataclass(frozen=True)
class Noise:
    """The noise of one trial's objective, as standard deviations in the objective's units.

    `seed_sd` is of the objective of one setting trained with another seed, on the same validation examples;
    `examples_se` of a typical good trial's objective over its examples; `of_one` of one trial around its setting's true
    value, for comparing unpaired trials: all None where unknown. `degrees` of freedom are what `of_one` rests on,
    infinite where it is known. With `relative` the noise is a share of the objective, and these are those of the best.
    `least` is a difference below which nothing is ever a verdict: that of a few examples.
    """

    source: Source
    seed_sd: float | None = None
    examples_se: float | None = None
    of_one: float | None = None
    degrees: float = float("inf")
    relative: float | None = None
    least: float = 0.0

    @property
    def words(self) -> str:
        """Where it comes from, for a sentence."""
        return {
            "repeats": "repeats with other seeds",
            "examples": "the number of validation examples",
            "surface": "what a smooth surface through the trials leaves",
            "unknown": "unknown",
        }[self.source]


@computed_once
def noise_of(tables: Tables, limits: Thresholds = Thresholds()) -> Noise:
    """The noise of a trial of the study."""
    tried = trained_settings(tables)
    if not tried:
        return Noise("unknown")
    least, se = _least(tables, limits), _examples_se(tables)
    relative = is_relative(tables, limits)
    unit = abs(tried[0].loss) if relative else 1.0
    sd, degrees = _of_repeats(tried, relative, limits)
    if sd > 0 and degrees >= limits.fewest_degrees:
        return Noise("repeats", sd * unit, se, sd * unit, degrees, sd if relative else None, least)
    if degrees >= limits.fewest_degrees and se is None:  # other seeds change nothing: are they used at all?
        return Noise("unknown", least=least)
    nugget, nugget_degrees = _nugget_of_arms(tables, tried, limits)
    if se is not None and (nugget is None or se >= nugget * unit):
        return Noise("examples", None, se, se, relative=se / unit if relative else None, least=least)
    if nugget is not None:
        raw = nugget * unit
        return Noise("surface", raw, se, raw, nugget_degrees, nugget if relative else None, least)
    return Noise("unknown", examples_se=se, least=least)


@computed_once
def is_relative(tables: Tables, limits: Thresholds = Thresholds()) -> bool:
    """Whether noise is a share of the objective: less of it is better, it is positive and spans a decade.

    Not where it counts examples: their number says what the noise is.
    """
    usual = robust(np.array([each.loss for each in trained_settings(tables)]))
    if tables.objective.mode == "max" or len(usual) < 2 or usual[0] < np.finfo(float).tiny:
        return False
    return bool(np.median(usual) / limits.a_decade >= usual[0]) and _least(tables, limits) == 0


def _of_repeats(tried: Sequence[Setting], relative: bool, limits: Thresholds) -> tuple[float, int]:
    """The standard deviation within settings, pooled over the better ones of those repeated, and its degrees."""
    repeated = [each.losses for each in tried if len(each.losses) > 1]
    count, degrees = 0, 0
    for each in repeated:
        half = count >= len(repeated) / 2 and degrees >= limits.fewest_degrees
        if half or (count >= limits.better * len(repeated) and degrees >= limits.enough_degrees):
            break
        count, degrees = count + 1, degrees + len(each) - 1
    better = repeated[:count]
    if relative:
        better = [np.log(each) for each in better if each.min() > 0]
    degrees = sum(len(each) - 1 for each in better)
    largest = max((float(np.abs(each).max()) for each in better), default=0.0)
    if not degrees or not largest:
        return 0.0, degrees
    squares = sum(
        float((((each - each[0]) / largest - np.mean((each - each[0]) / largest)) ** 2).sum()) for each in better
    )
    return math.sqrt(squares / degrees) * largest, degrees


def _least(tables: Tables, limits: Thresholds) -> float:
    """The difference that `fewest_examples` make, where the objective counts examples; else 0."""
    counted = _counted(tables)
    return 0.0 if counted is None else limits.fewest_examples * counted[1] / counted[0]


@computed_once
def _counted(tables: Tables) -> tuple[int, float] | None:
    """The number of examples of an error or an accuracy, and what all of them make: 1, or 100 in per cent."""
    if "n_examples" not in tables.trials.columns or kinds(tables.objective.metric).isdisjoint({"error", "score"}):
        return None
    trained = tables.trials.filter(pl.col("objective").is_finite() & (pl.col("status") == "complete"))
    known = trained.filter(pl.col("n_examples") > 0)
    if not len(known):
        return None
    objective, number = known["objective"].to_numpy(), known["n_examples"].to_numpy()
    for whole in (1.0, 100.0):
        share = objective / whole
        missed = share * number
        if ((share >= 0) & (share <= 1)).all() and np.mean(np.abs(missed - np.round(missed)) < 0.05) > 0.9:
            return int(np.median(number)), whole
    return None


def _examples_se(tables: Tables) -> float | None:
    """The standard error of a typical good trial's objective over its examples.

    Of an error that counts examples it is adjusted: 0 of n is not for sure 0.
    """
    better = tables.ranked()
    better = better.head(math.ceil(len(better) / 4))
    if (counted := _counted(tables)) is not None:
        number, whole = counted
        share = float(better["objective"].median() or 0.0) / whole  # type: ignore[arg-type]
        return whole * adjusted_of_share(share, number)
    if "objective_se" in better.columns:
        known = better.filter(pl.col("objective_se").is_finite() & (pl.col("objective_se") > 0))["objective_se"]
        if len(known):
            return float(np.median(known.to_numpy()))
    recorded = [tables.examples[trial].values for trial in better["trial"] if trial in tables.examples]
    spreads = [float(each[-1].std()) / math.sqrt(each.shape[1]) for each in recorded if each.size]
    return float(np.median(spreads)) or None if spreads else None


def _nugget_of_arms(tables: Tables, tried: Sequence[Setting], limits: Thresholds) -> tuple[float | None, float]:
    """The largest nugget of the better arms, and its degrees of freedom."""
    arms = list(dict.fromkeys(each.arm for each in tried))[: limits.most_arms]
    return max((found for arm in arms if (found := _nugget(tables, arm, limits)) is not None), default=(None, 0.0))


def _nugget(tables: Tables, arm: str, limits: Thresholds) -> tuple[float, float] | None:
    """What no smooth function explains of an arm's better settings, and the degrees of freedom of an estimate as sure.

    None where it cannot be told. Of ν degrees the logarithm of a standard deviation has one of √(1/2ν).
    """
    found = surface_of(tables, arm, None, limits)
    if found is None or not 0 < found.high <= limits.widest * found.low:
        return None
    return found.noise, 2 * (1.2816 / max(math.log(found.high / found.low), 0.1)) ** 2


@computed_once
def surface_of(
    tables: Tables, arm: str, noise: float | None = None, limits: Thresholds = Thresholds()
) -> Surface | None:
    """The surface through an arm's settings, in the order of `trained_settings`, at most `MOST` of them.

    It is of the loss, or of its logarithm where noise is a share of it; beyond the better quarter it is flattened.
    """
    tried = trained_settings(tables, arm)[:MOST]
    keys = tables.setting_keys(arm)
    if len(tried) < FEWEST or keys is None or not 0 < len(keys) <= limits.most_keys:
        return None
    values = np.array([each.loss for each in tried])
    values = np.log(values) if is_relative(tables, limits) else values
    places = places_of(tables, arm, [each.trial for each in tried])
    flat, slope = _flattened(values, limits.linear)
    counts = np.array([len(each.losses) for each in tried])
    return surface(places, flat, counts / slope, noise)


def _flattened(values: Values, linear: float) -> tuple[Values, Values]:
    """The values (in order, best first), those beyond the share `linear` by the logarithm of how far they are.

    And the slope there, by which the noise shrinks; what is worse has more of it, so that its variance does.
    """
    knee = float(np.quantile(values, linear))
    width = knee - values[0]
    if not width > 0 or not np.isfinite(width):
        return values, np.ones(len(values))
    beyond = np.maximum(values - knee, 0) / width
    return np.where(values <= knee, values, knee + width * np.log1p(beyond)), 1 / (1 + beyond)


def places_of(tables: Tables, arm: str, trials: Sequence[int]) -> Values:
    """(trials, columns) in [0, 1]: where each lies in each hyperparameter of an arm; a column a value of a list."""
    rows = tables.of_arm(arm).join(
        pl.DataFrame({"trial": trials}, schema={"trial": pl.Int64()}), on="trial", how="right", maintain_order="right"
    )
    columns = []
    for key in tables.setting_keys(arm) or ():
        dimension = tables.space[arm][key]
        if dimension.is_ordered:
            columns.append(np.nan_to_num(positions(rows[key], dimension), nan=0.5))
        else:
            names = [show(value) for value in rows[key].to_list()]
            columns += [np.array([float(name == value) for name in names]) for value in sorted(set(names))[1:]]
    return np.stack(columns, axis=1) if columns else np.zeros((len(rows), 0))
