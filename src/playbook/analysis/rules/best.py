"""The answer of a study: a set, and the value that its winner would have if it were trained again (B11).

The set holds every setting that the noise of trials does not tell from the best one (multiple comparisons with the
best, Hsu 1981): with 95 % the truly best of those tried is among them. Where the validation examples are recorded, two
trials are compared on the examples on which they differ (McNemar); a few examples are never a verdict. The best value
itself is a matter of luck as well, the more so the more settings were tried: `expected` is shrunken for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.example_pairs import luck_of_steps, paired_examples
from playbook.analysis.finding import Finding, Remedy
from playbook.analysis.multiple import best_of_several
from playbook.analysis.noise_of_trials import Noise, Source, noise_of
from playbook.analysis.regret import Values
from playbook.analysis.repeats import Setting, is_repeated, trained_settings
from playbook.analysis.shrinkage import shrunken, typical_noise
from playbook.analysis.tables import Tables, computed_once
from playbook.text import brief, count

POWER = 2.8
"""Standard errors of a difference that is told with 80 % at the level of 5 %: 1.96 + 0.84."""
FARTHEST = 1e6
"""How far, in the noise of one trial, anything may be: a loss of 1e17 is no farther."""
MOST_COMPARED = 100
"""Of the best settings, with which each is compared: those after them tell nothing more."""


@dataclass(frozen=True)
class Thresholds:
    """What the verdict depends on."""

    interval: float = 1.96
    """Standard errors on either side of an interval: 95 %."""
    most_seeds: int = 64
    """More seeds than that are not proposed: the difference is then of no use to anyone."""


@dataclass(frozen=True)
class Best:
    """The winner, and what it would be if it were trained again; values are in the objective's units.

    `value` is its objective, of a setting that is repeated the mean; `expected` that of the same setting with another
    seed, `se` its standard error, and `interval` holds the objective of one such trial with 95 %: None where the noise
    is unknown. `members` has a trial of each setting that cannot be told from the winner, the winner's first. `seeds`
    is how many more runs of the winner and of the next one would tell the two apart, if they differ as they seem to.
    Where the noise is unknown, `members` are the better half.
    """

    trial: int
    value: float
    expected: float | None
    interval: tuple[float, float] | None
    se: float | None
    noise_from: Source
    members: tuple[int, ...]
    tried: int
    seeds: int | None = None

    @property
    def is_tie(self) -> bool:
        """Whether other settings cannot be told from the winner."""
        return len(self.members) > 1


@computed_once
def best(tables: Tables, arm: str | None = None, limits: Thresholds = Thresholds()) -> Best | None:
    """The best setting (of an arm); None where nothing trained."""
    tried = trained_settings(tables, arm)
    if not tried:
        return None
    noise, winner = noise_of(tables), tried[0]
    value = winner.loss * tables.sign + 0.0  # without the sign of a zero
    if noise.of_one is None or is_level(tables, arm):
        near = tried if is_level(tables, arm) else tried[: math.ceil(len(tried) / 2)]
        members = tuple(each.trial for each in near)
        return Best(winner.trial, value, None, None, None, "unknown", members, len(tried))
    lost, sds = in_noise(tried, noise)
    told = _told(tables, tried, lost, sds, noise)
    members = tuple(each.trial for each, is_told in zip(tried, told, strict=True) if not is_told)
    mean, error = shrunken(lost, sds * _quiet(tried, noise))
    wide = limits.interval * math.hypot(error, 1.0)
    luck = tables.sign * luck_of_steps(tables, [each.trial for each in tried[: math.ceil(len(tried) / 4)]])
    ends = sorted(_objective(tables, winner, noise, each) + luck for each in (mean - wide, mean + wide))
    low, high = _bounded(tables, ends)
    expected = _objective(tables, winner, noise, mean) + luck
    se = error * (noise.of_one if noise.relative is None else noise.relative * abs(expected))
    return Best(
        winner.trial,
        value,
        expected,
        (low, high),
        se,
        noise.source,
        members,
        len(tried),
        _seeds(float(lost[1]), limits) if len(members) > 1 else None,
    )


def in_noise(tried: Sequence[Setting], noise: Noise) -> tuple[Values, Values]:
    """How far each setting is from the first, and the deviation of its mean, both in the noise of one trial."""
    assert noise.of_one is not None
    sds = np.array([1 / math.sqrt(len(each.losses)) for each in tried])
    raw = np.array([each.loss for each in tried])
    with np.errstate(over="ignore"):
        if noise.relative is not None:
            return np.log(raw / raw[0]) / noise.relative, sds
        return np.minimum(raw / noise.of_one - raw[0] / noise.of_one, FARTHEST), sds


def _quiet(tried: Sequence[Setting], noise: Noise) -> float:
    """The noise of one trial without that of the few wildest settings, as a share of what it is with them."""
    if noise.source != "repeats" or noise.of_one is None:
        return 1.0
    if noise.relative is None:
        quiet = typical_noise([each.losses / noise.of_one for each in tried])
    else:
        quiet = typical_noise([np.log(each.losses) / noise.relative for each in tried if each.losses.min() > 0])
    return min(quiet, 1.0) if math.isfinite(quiet) else 1.0


def _told(tables: Tables, tried: Sequence[Setting], lost: Values, sds: Values, noise: Noise) -> NDArray[np.bool_]:
    """Which settings are told from the best: there is one from which each is farther than luck would have it."""
    critical, told = best_of_several(len(tried), noise.degrees), np.zeros(len(tried), bool)
    raw = np.array([each.loss for each in tried])
    for place in range(min(len(tried), MOST_COMPARED)):
        far = lost - lost[place] > critical * np.hypot(sds, sds[place])
        told |= far & (raw - raw[place] >= noise.least * (1 - 1e-9))
    for place, each in enumerate(tried):
        paired = paired_examples(tables, tried[0].trial, each.trial, critical)
        if paired is not None:
            told[place] = paired and (noise.source != "repeats" or told[place])
    return told


def _objective(tables: Tables, winner: Setting, noise: Noise, lost: float) -> float:
    """The objective that lies so far, in the noise of one trial, from the winner's."""
    assert noise.of_one is not None
    if noise.relative is not None:
        return winner.loss * math.exp(noise.relative * lost)
    return (winner.loss + noise.of_one * lost) * tables.sign + 0.0


def _bounded(tables: Tables, interval: Sequence[float]) -> tuple[float, float]:
    """The interval, within 0 and 1 where all objectives are, and above 0 where they are."""
    tried, (low, high) = trained_settings(tables), interval
    lowest, highest = sorted((tried[0].loss * tables.sign, tried[-1].loss * tables.sign))
    low = max(low, 0.0) if lowest >= 0 else low
    return low, min(high, 1.0) if lowest >= 0 and highest <= 1 else high


def _seeds(apart: float, limits: Thresholds) -> int | None:
    """The runs of each of two settings that tell them apart, with 80 % at the level of 5 %; None where too many."""
    runs = math.ceil(2 * (POWER / apart) ** 2) if apart > 0 else math.inf
    return max(2, int(runs)) if runs <= limits.most_seeds else None


def find(tables: Tables, limits: Thresholds = Thresholds()) -> list[Finding]:
    """`best`, where something trained."""
    found = best(tables, None, limits)
    if found is None:
        return []
    evidence: dict[str, Any] = {
        "trial": found.trial,
        "value": found.value,
        "expected": found.expected,
        "interval": found.interval,
        "se": found.se,
        "noise_from": found.noise_from,
        "set": found.members,
    }
    tells = found.seeds is not None or (found.expected is None and len(found.members) > 1 and not is_level(tables))
    remedies = (Remedy({}, "compare", found.trial, found.members[1]),) if tells else ()
    message = " ".join(_sentences(tables, found))
    return [Finding("best", "info", "B11", message, trials=found.members, evidence=evidence, next=remedies)]


def _sentences(tables: Tables, found: Best) -> list[str]:
    noun = "setting" if is_repeated(tables) else "trial"
    if is_level(tables):
        return [f"All {count(found.tried, noun)} have the same {tables.objective.metric}: there is no winner."]
    of = "is of the setting with the best mean" if is_repeated(tables) else "has the best value"
    said = [f"Trial {found.trial} {of}: {tables.objective.metric} {brief(found.value)}."]
    if found.expected is None or found.interval is None:
        said.append(
            "Noise unknown: nothing says what another seed would change, so no order of the trials is a verdict;"
            " repeats of some settings would."
        )
        return said
    low, high = found.interval
    said.append(
        f"Trained again with another seed it would have about {brief(found.expected)}"
        f" ({brief(low)} to {brief(high)}, 95 %; noise from {noise_of(tables).words})."
    )
    if not found.is_tie:
        said.append(
            f"It is told from each of the other {found.tried - 1}." if found.tried > 1 else "Nothing else trained."
        )
    else:
        said.append(f"{len(found.members) - 1} of the other {found.tried - 1} cannot be told from it.")
        if found.seeds is not None:
            said.append(f"About {found.seeds} runs each, with new seeds, would tell it from the next.")
    return said


def is_level(tables: Tables, arm: str | None = None) -> bool:
    """Whether all that trained (in an arm) have one value: there is no winner."""
    tried = trained_settings(tables, arm)
    return len(tried) > 1 and tried[0].loss == tried[-1].loss
