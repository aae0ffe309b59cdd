"""Whether the trials' best steps tell that there were too many steps or too few."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from verdicts_of_curves import HELD_OUT

from playbook.analysis.rules import best_step
from playbook.analysis.tables import CURVE_COLUMNS, Tables
from playbook.study.design import ONLY_ARM, Objective


def best_steps(share: Callable[[np.random.Generator, int], np.ndarray], seed: int) -> Tables:
    """A study of 6 to 60 trials of which only the best steps are known, as shares of all steps, best trial first."""
    rng = np.random.default_rng([seed, 99])
    count = int(rng.integers(6, 61))
    steps = np.rint(np.clip(share(rng, count), 0, 1) * 2000).astype(np.int64)
    trials = pl.DataFrame(
        {
            "trial": rng.permutation(count),
            "arm": ONLY_ARM,
            "status": "complete",
            "objective": np.arange(count) * 0.01,
            "best_step": steps,
            "seed": 0,
        }
    )
    return Tables(trials, Objective("val/error"), max_steps=2000)


def better_half(share: Callable[[np.random.Generator, int], np.ndarray]) -> Callable[..., np.ndarray]:
    """The better half of the trials as `share` says, the others anywhere."""
    return lambda rng, count: np.where(np.arange(count) < count / 2 + 3, share(rng, count), rng.uniform(0, 1, count))


SHARES: dict[str | None, Callable[[np.random.Generator, int], np.ndarray]] = {
    "best_step_early": better_half(lambda rng, count: rng.uniform(0, 0.1, count)),
    "best_step_late": better_half(lambda rng, count: rng.uniform(0.75, 1, count)),
    None: lambda rng, count: rng.uniform(0, 1, count),
}


@pytest.mark.parametrize("code", SHARES)
def test_the_best_steps_tell_whether_there_were_too_many_or_too_few(code):
    right = 0
    for seed in range(100):
        found = best_step.find(best_steps(SHARES[code], HELD_OUT + seed))
        right += [each.code for each in found] == ([code] if code else [])
        assert code or not any(each.severity == "problem" for each in found)
    assert right >= 95


@pytest.mark.parametrize(("examples", "said"), [(2, []), (12, ["best_step_late"])])
def test_a_late_best_by_a_few_examples_says_nothing(examples, said):
    late = best_steps(SHARES["best_step_late"], 3)
    steps = np.arange(0, 2001, 100)
    missed = np.where(steps < 300, 90, 40) - np.where(steps >= 1900, examples, 0)
    rows = [(k, int(s), "val/error", m / 359) for k in late.trials["trial"] for s, m in zip(steps, missed, strict=True)]
    curves = pl.DataFrame(rows, schema=CURVE_COLUMNS, orient="row")
    assert [each.code for each in best_step.find(replace(late, curves=curves))] == said
