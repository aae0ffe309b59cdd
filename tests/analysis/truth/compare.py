"""Two configurations compared by repeats of both, looked at after every repeat: `playbook.procedures.sequential_test`.

The noise is anything but normal: losses are skewed, now and then a run goes wrong, errors are counted. A draw is
`BATCH` comparisons at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from playbook.procedures.sequential_test import THRESHOLDS, critical_value, look, paired_estimates
from truth.claim import Claim, Summary, share

BATCH = 50
ALPHA = 0.05
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "log-normal": lambda rng, shape: rng.lognormal(0, 1, shape),
    "t with 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, shape),
    "one run in ten goes wrong by 10 sd": lambda rng, shape: rng.normal(0, 1, shape) + 10 * (rng.random(shape) < 0.1),
    "errors of 359 examples, 10 expected": lambda rng, shape: rng.binomial(359, 10 / 359, shape) / 359.0,
    "two values": lambda rng, shape: rng.integers(0, 2, shape).astype(float),
}


def adopted(candidate: np.ndarray, incumbent: np.ndarray) -> np.ndarray:
    """(comparisons,): whether any look adopts the candidate, one after every repeat (comparisons, repeats); lower is
    better."""
    said = np.zeros(len(candidate), dtype=bool)
    for num in range(THRESHOLDS.fewest, candidate.shape[1] + 1):
        effects, errors, df = paired_estimates(-candidate[:, :num], -incumbent[:, :num])
        said |= effects > critical_value(num, df, ALPHA) * errors
    return said


def with_itself(
    noise: Noise, picked: int = 1, seeds_shared: float = 0.0
) -> Callable[[np.random.Generator], list[bool]]:
    """100 repeats of one configuration as candidate and as incumbent; the candidate's first is the best of `picked`."""

    def draw(rng: np.random.Generator) -> list[bool]:
        ours, theirs, common = (noise(rng, (BATCH, 100)) for _ in range(3))
        shared = rng.random((BATCH, 100)) < seeds_shared
        ours, theirs = np.where(shared, common, ours), np.where(shared, common, theirs)
        ours[:, 0] = noise(rng, (BATCH, picked)).min(axis=1) if picked > 1 else ours[:, 0]
        return list(adopted(ours, theirs))

    return draw


def apart(by: float, num: int, correlation: float = 0.0) -> Callable[[np.random.Generator], list[bool]]:
    """A candidate that is better by so many sd, within `num` repeats."""

    def draw(rng: np.random.Generator) -> list[bool]:
        common = correlation**0.5 * rng.normal(0, 1, (BATCH, num))
        own = (1 - correlation) ** 0.5
        ours, theirs = (common + own * rng.normal(0, 1, (BATCH, num)) for _ in range(2))
        return list(adopted(ours - by, theirs))

    return draw


def of_batches(drawn: Sequence[list[bool]]) -> Summary:
    """The share of all of the repeats."""
    return share([said for batch in drawn for said in batch])


def interval_misses(rng: np.random.Generator) -> list[bool]:
    """Whether the true effect is outside the interval at any of 40 looks, of skewed noise of two widths."""
    ours, theirs = rng.lognormal(0, 0.5, (BATCH, 40)) - 3.0, 2 * rng.lognormal(0, 0.5, (BATCH, 40))
    true = 3.0 + np.exp(0.125)
    said = np.zeros(BATCH, dtype=bool)
    for num in range(THRESHOLDS.fewest, 41):
        effects, errors, df = paired_estimates(-ours[:, :num], -theirs[:, :num])
        said |= np.abs(effects - true) > critical_value(num, df, ALPHA) * errors
    return list(said)


def infeasible_alike(rng: np.random.Generator) -> bool:
    """One configuration with itself, three in ten repeats infeasible, looked at up to 30."""
    ours, theirs = (np.where(rng.random(30) < 0.3, np.nan, rng.normal(0, 1, 30)).tolist() for _ in range(2))
    return any(look(ours[:num], theirs[:num]).verdict == "adopt" for num in range(3, 31))


def infeasible_often(rng: np.random.Generator) -> bool:
    """The incumbent is infeasible in seven of ten, the candidate never: adopted within 16."""
    theirs = np.where(rng.random(16) < 0.7, np.nan, rng.normal(0, 1, 16)).tolist()
    ours = rng.normal(0, 1, 16).tolist()
    return any(look(ours[:num], theirs[:num]).verdict == "adopt" for num in range(3, 17))


def _claim(scenario: str, draw: Callable[[np.random.Generator], list[bool]], **wanted: float) -> Claim:
    return Claim("compare: adopt", scenario, draw, studies=40, summary=of_batches, **wanted)


CLAIMS = [
    *(
        _claim(f"with itself, a look after every run up to 100; noise: {name}", with_itself(noise), at_most=0.05)
        for name, noise in NOISES.items()
    ),
    *(
        _claim(
            f"with itself, the best of 10 seeds smuggled in as the first run; noise: {name}",
            with_itself(noise, picked=10),
            at_most=0.05,
        )
        for name, noise in list(NOISES.items())[:2]
    ),
    _claim(
        "with itself, where half of the pairs are equal",
        with_itself(NOISES["normal"], seeds_shared=0.5),
        at_most=0.05,
    ),
    _claim("better by 2 sd, within 8 runs each", apart(2, 8), at_least=0.8),
    _claim("better by 2 sd, seeds correlated by .5, within 8 runs each", apart(2, 8, 0.5), at_least=0.8),
    _claim("better by 1 sd, within 8 runs each", apart(1, 8)),
    _claim("better by 1 sd, within 20 runs each", apart(1, 20)),
    Claim(
        "compare: interval",
        "the true effect outside at any of 40 looks; skewed noise, one side twice as wide",
        interval_misses,
        at_most=0.1,
        studies=40,
        summary=of_batches,
    ),
    Claim("compare: adopt", "with itself, 30 % infeasible, up to 30", infeasible_alike, at_most=0.05, studies=300),
    Claim("compare: adopt", "incumbent infeasible in 70 %, within 16", infeasible_often, at_least=0.8, studies=200),
]
